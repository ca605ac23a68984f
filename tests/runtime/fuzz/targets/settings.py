"""The environment: whatever stands in it, there are settings or a `SettingsError` that a person can read."""

from __future__ import annotations

import math
import os
from random import Random

from fuzz.targets.target import Target

from reranker_runtime.errors import SettingsError
from reranker_runtime.settings import Env, Settings, read_settings, unknown_variables

NAMES = sorted(
    {
        name.partition("#")[0]
        for field in Settings.model_fields.values()
        for item in field.metadata
        if isinstance(item, Env)
        for name in item.names
    }
)
VALUES = (
    "", "0", "1", "-1", "8000", "8002", "1e3", "nan", "inf", "-inf", "1e999", "1_0", "\u0665", "true", "off", "/m",
    "a,b", ",", "[::1]:80", "[::1", "::1", ":", "host:99999", "tcp://1.2.3.4:80", "info,x=y", "x=y", "fp8", "auto",
    "sha256:" + "0" * 64, "json", "9" * 5000, "\x85", "\udcff", "\u2028", "a\rb", " ", "../..", "~",
)  # fmt: skip


def check(data: bytes) -> None:
    lines = [os.fsdecode(line).partition("=") for line in data.split(b"\n")]
    environ = {name: value for name, _, value in lines if name and "\0" not in name + value}
    assert set(unknown_variables(environ)) <= set(environ)
    try:
        settings = read_settings(environ)
        assert settings.model_path is None or all(settings.names)
    except SettingsError as error:
        shown = str(error)
        assert shown.strip(), "an error without words"
        assert len(shown.splitlines()) == 1, f"an error of several lines: {shown!r}"
        shown.encode()
        return
    for name, value in settings:
        assert not isinstance(value, float) or math.isfinite(value), f"{name} is {value}"
    settings.model_dump_json()


def mutate(data: bytes, random: Random) -> bytes | None:
    if random.random() < 0.2:
        return None
    lines = data.split(b"\n")
    at = random.randrange(len(lines))
    line = os.fsencode(f"{random.choice(NAMES)}={random.choice(VALUES)}")
    match random.randrange(4):
        case 0:
            lines[at] = line
        case 1:
            del lines[at]
        case 2:
            lines[at] += os.fsencode(random.choice(VALUES))
        case _:
            lines.append(line)
    return b"\n".join(lines)


TARGET = Target(
    check,
    mutate,
    [
        b"NIM_MODEL_PATH=/m",
        b"NIM_SERVER_BIND_ADDR=[::1]:80\nNIM_HTTP_API_PORT=80",
        b"RUST_LOG=info,hyper=warn\nLOG_FORMAT=json\nNIM_PRECISION=float16",
        b"RERANKER_API_KEYS_FILE=/k\nRERANKER_TOKENS_PER_MINUTE=5\nRERANKER_PUBLIC_PATHS=/,/docs",
        b"RERANKER_GRACE_SECONDS=0.5\nRERANKER_REVISION=abc\nNIM_SERVED_MODEL_NAME=a,b",
    ],
)
