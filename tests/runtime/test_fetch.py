"""fetch, as the model Job runs it: the command, a hub on loopback, a volume."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from certificates import Pair
from localhub import LocalHub
from localproxy import LocalProxy

from reranker_runtime.errors import FetchReason

DEADLINE = 120.0
NAME, REVISION = "acme/reranker", "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40
TOKEN = "hf_" + "Secret" * 5
HALF = 1_500_000
WEIGHTS = random.Random(1).randbytes(2 * HALF)
READ = {
    "config.json": b'{"architectures": ["None"]}',
    "config_sentence_transformers.json": b"{}",
    "tokenizer.json": b"{}" * 600_000,  # large enough for LFS, as real ones are
    "tokenizer_config.json": b"{}",
    "special_tokens_map.json": b"{}",
    "preprocessor_config.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
    "vocab.txt": b"",
    "model.safetensors": WEIGHTS,
}
LEFT = {
    "README.md": b"# A model",
    ".gitattributes": b"*.bin lfs",
    "pytorch_model.bin": b"pickle",
    "model.onnx": b"onnx",
    "onnx/model.onnx": b"onnx",
    "onnx/config.json": b"{}",
    "modeling.py": b"import os",
    "other.safetensors": b"another",
    "model.safetensors.index.json": b'{"weight_map": {"a": "model-1.safetensors"}}',
    "model-1.safetensors": b"sharded",
}


@pytest.fixture
def repositories(tmp_path: Path) -> Path:
    put(tmp_path / "hub" / NAME / REVISION, READ | LEFT)
    return tmp_path / "hub"


@pytest.fixture
def serve(repositories: Path) -> Iterator[Callable[..., LocalHub]]:
    with ExitStack() as stack:
        yield lambda **given: stack.enter_context(LocalHub(repositories, **given))


@pytest.fixture
def hub(serve: Callable[..., LocalHub]) -> LocalHub:
    return serve()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def put(directory: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return directory


def place(cache: Path, name: str = NAME, revision: str = REVISION) -> Path:
    return cache / name.replace("/", "--") / revision


def only_weights_are_large(hub: LocalHub) -> None:
    """So that it is them that a fault of the hub meets."""
    (hub.root / NAME / REVISION / "tokenizer.json").write_bytes(b"{}")


def contents(directory: Path) -> dict[str, bytes]:
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def times(directory: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (directory, *directory.rglob("*"))}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "reranker_runtime", "fetch", *map(str, arguments)]


def arguments(hub: LocalHub | str, cache: Path, *more: object, name: str = NAME, revision: str = REVISION) -> list[str]:
    url = hub if isinstance(hub, str) else hub.url
    return command("--repository", name, "--revision", revision, "--endpoint", url, *more, cache)


def surroundings(**variables: object) -> dict[str, str]:
    """Those of a pod: no home, and no proxies but those given."""
    foreign = ("HF_", "NIM_", "RERANKER_", "SSL_")
    kept = {n: v for n, v in os.environ.items() if not n.startswith(foreign) and not n.lower().endswith("_proxy")}
    return {n: v for n, v in kept.items() if n != "HOME"} | {n: str(v) for n, v in variables.items()}


def fetch(
    hub: LocalHub | str,
    cache: Path,
    *more: object,
    name: str = NAME,
    revision: str = REVISION,
    **variables: object,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments(hub, cache, *more, name=name, revision=revision),
        env=surroundings(**variables),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )


def start(hub: LocalHub, cache: Path, *more: object) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(arguments(hub, cache, *more), env=surroundings(), stdout=pipe, stderr=pipe, text=True)


def good(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["ok"] is True
    return said


def bad(done: subprocess.CompletedProcess[str], reason: str, code: int, *words: str) -> str:
    """The message of a report that says no."""
    assert "Traceback" not in done.stderr
    assert len(done.stdout.splitlines()) == 1, done.stderr
    said = json.loads(done.stdout)
    message = said.pop("message")
    assert (said, done.returncode) == ({"ok": False, "reason": reason}, code), message
    assert [word for word in words if word not in message] == [], message
    return message


def until(fact: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + DEADLINE
    while not fact():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def test_what_serving_reads_is_there_byte_for_byte_and_nothing_else(hub: LocalHub, cache: Path, tmp_path: Path) -> None:
    report = tmp_path / "termination-log"
    done = fetch(hub, cache, "--report", report)
    size = sum(map(len, READ.values()))
    assert good(done) == {
        "ok": True,
        "repository": NAME,
        "revision": REVISION,
        "files": len(READ),
        "bytes": size,
        "downloaded": size,
    }
    assert report.read_text() == done.stdout
    assert contents(place(cache)) == READ
    assert [p.name for p in place(cache).parent.iterdir()] == [REVISION]
    assert contents(cache) == {f"{place(cache).relative_to(cache)}/{name}": READ[name] for name in READ}
    assert "files: 8, 1.2 MB, of which 0 bytes are here already" in done.stderr


def test_what_is_there_is_left_alone_and_nothing_is_asked(hub: LocalHub, cache: Path) -> None:
    good(fetch(hub, cache))
    asked, changed = len(hub.asked), times(cache)
    said = good(fetch(hub, cache))
    assert (said["files"], said["downloaded"]) == (len(READ), 0)
    assert len(hub.asked) == asked
    assert good(fetch("http://127.0.0.1:1", cache))["downloaded"] == 0
    assert times(cache) == changed  # so that the volume may be mounted read-only


def test_an_empty_directory_is_a_mount_point_and_no_model(hub: LocalHub, cache: Path) -> None:
    place(cache).mkdir(parents=True)
    good(fetch(hub, cache))
    assert contents(place(cache)) == READ


def test_a_cut_connection_goes_on_where_it_was_cut(hub: LocalHub, cache: Path) -> None:
    only_weights_are_large(hub)
    hub.faults.cut_after = HALF
    done = fetch(hub, cache)
    said = good(done)
    assert said["bytes"] == said["downloaded"]
    assert [sent for sent in hub.sent("model.safetensors") if sent[1]] == [("", HALF), (f"bytes={HALF}-", HALF)]
    assert (place(cache) / "model.safetensors").read_bytes() == WEIGHTS


def test_a_killed_fetch_is_gone_on_from_by_the_next_and_nothing_comes_twice(hub: LocalHub, cache: Path) -> None:
    only_weights_are_large(hub)
    hub.faults.hold_after = HALF
    part = place(cache).parent / f".partial-{REVISION}" / "model.safetensors.incomplete"
    with start(hub, cache) as process:
        until(lambda: part.exists() and part.stat().st_size == HALF, process)
        assert not place(cache).exists()
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert not place(cache).exists()
    hub.faults.hold_after = None
    hub.faults.released.set()
    hub.asked.clear()
    said = good(fetch(hub, cache))
    assert said["downloaded"] == HALF
    assert [a.range for a in hub.asked if a.sent and a.port == "cdn"] == [f"bytes={HALF}-"]
    assert [a.path for a in hub.asked if a.port == "hub" and "resolve" in a.path and a.status == 200] == []
    assert (place(cache) / "model.safetensors").read_bytes() == WEIGHTS


def test_a_stop_is_reported_and_keeps_what_is_there(hub: LocalHub, cache: Path, tmp_path: Path) -> None:
    only_weights_are_large(hub)
    hub.faults.hold_after = HALF
    report = tmp_path / "report"
    part = place(cache).parent / f".partial-{REVISION}" / "model.safetensors.incomplete"
    with start(hub, cache, "--report", report) as process:
        until(lambda: part.exists() and part.stat().st_size == HALF, process)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=DEADLINE)
    bad(subprocess.CompletedProcess([], process.returncode, out, err), "Interrupted", 1, "goes on")
    assert report.read_text() == out
    assert part.stat().st_size == HALF


def test_a_server_that_cannot_resume_is_asked_from_the_start(hub: LocalHub, cache: Path) -> None:
    only_weights_are_large(hub)
    hub.faults.cut_after, hub.faults.resumes = HALF, False
    done = fetch(hub, cache)
    good(done)
    assert (place(cache) / "model.safetensors").read_bytes() == WEIGHTS
    assert "starting from the beginning" in done.stderr


@pytest.mark.parametrize("lock", ["held", "impossible"])
def test_two_at_once_do_not_damage_it(hub: LocalHub, cache: Path, lock: str) -> None:
    only_weights_are_large(hub)
    if lock == "impossible":  # as on volumes without locks
        (place(cache).parent / f".lock-{REVISION}").mkdir(parents=True)
    hub.faults.hold_after = HALF
    with start(hub, cache) as first:
        assert hub.wait(lambda: hub.holding == 1)
        with start(hub, cache) as second:
            if lock == "held":
                assert second.stderr is not None
                assert "another fetch" in second.stderr.readline()
            else:
                assert hub.wait(lambda: hub.holding == 2)
            hub.faults.released.set()
            said = [json.loads(p.communicate(timeout=DEADLINE)[0]) for p in (first, second)]
    assert [report["ok"] for report in said] == [True, True]
    assert contents(place(cache)) == READ | {"tokenizer.json": b"{}"}
    if lock == "held":
        assert said[1]["downloaded"] == 0
        assert sum(sent for _, sent in hub.sent("model.safetensors")) == len(WEIGHTS)
        assert [p.name for p in place(cache).parent.iterdir()] == [REVISION]


SHARDS = {f"model-0000{n}-of-00002.safetensors": bytes([n]) * 100 for n in (1, 2)}
INDEX = {"weight_map": dict(zip("ab", SHARDS, strict=True))}
SHARDED = {"config.json": b"{}", "model.safetensors.index.json": json.dumps(INDEX).encode()} | SHARDS


def test_shards_are_those_that_the_index_names(serve: Any, repositories: Path, cache: Path) -> None:
    put(repositories / NAME / OTHER, SHARDED | {"model-00003-of-00002.safetensors": b"left over"})
    good(fetch(serve(), cache, revision=OTHER))
    assert contents(place(cache, revision=OTHER)) == SHARDED


def test_module_folders_are_those_that_modules_json_names(serve: Any, repositories: Path, cache: Path) -> None:
    modules = [{"type": "models.Transformer", "path": ""}, {"type": "models.Dense", "path": "2_Dense"}]
    files = {
        "config.json": b"{}",
        "modules.json": json.dumps(modules).encode(),
        "model.safetensors": b"weights",
        "2_Dense/config.json": b"{}",
        "2_Dense/model.safetensors": b"dense",
    }
    put(repositories / NAME / OTHER, files | {"2_Dense/pytorch_model.bin": b"pickle", "3_Dense/config.json": b"{}"})
    good(fetch(serve(), cache, revision=OTHER))
    assert contents(place(cache, revision=OTHER)) == files


def test_what_was_fetched_can_be_verified(
    serve: Any, repositories: Path, cache: Path, models: Any, invoke: Any
) -> None:
    hub = serve()
    for kind, directory in {"one": models.bert, "shards": models.sharded, "modules": models.sentence("mean")}.items():
        shutil.copytree(directory, repositories / "acme" / kind / OTHER)
        good(fetch(hub, cache, name=f"acme/{kind}", revision=OTHER))
        verified = invoke("verify", place(cache, f"acme/{kind}", OTHER))
        assert verified.returncode == 0
        assert verified.stdout == invoke("verify", directory).stdout


def test_the_token_opens_the_hub_and_goes_nowhere_else(serve: Any, cache: Path, tmp_path: Path) -> None:
    hub = serve(token=TOKEN)
    done = fetch(hub, cache, HF_TOKEN=TOKEN + "\n")  # as Secrets made with echo hold it
    good(done)
    assert {a.authorized for a in hub.asked if a.port == "hub"} == {True}
    assert {a.authorized for a in hub.asked if a.port == "cdn"} == {False}
    assert TOKEN not in done.stdout + done.stderr
    assert hub.signature not in done.stdout + done.stderr
    assert not [name for name, content in contents(cache).items() if TOKEN.encode() in content]


def test_a_wrong_token_is_refused_and_not_shown_though_the_hub_repeats_it(
    serve: Any, cache: Path, tmp_path: Path
) -> None:
    hub, report = serve(token="hf_another"), tmp_path / "report"
    done = fetch(hub, cache, "--report", report, HF_TOKEN=TOKEN)
    bad(done, "Unauthorized", 2, "HF_TOKEN", NAME, hub.url, "[token]")
    assert TOKEN not in done.stdout + done.stderr + report.read_text()
    assert len(hub.asked) == 1


def test_no_token_where_one_is_wanted(serve: Any, cache: Path) -> None:
    bad(fetch(serve(token=TOKEN), cache), "Unauthorized", 2, "HF_TOKEN", NAME)


def test_what_is_not_there(hub: LocalHub, cache: Path) -> None:
    bad(fetch(hub, cache, name="acme/none", HF_TOKEN=TOKEN), "RepositoryNotFound", 2, "acme/none", hub.url)
    bad(fetch(hub, cache, revision=OTHER), "RevisionNotFound", 2, OTHER, NAME, hub.url)
    bad(fetch(hub.url + "/wrong/path", cache), "RepositoryNotFound", 2, "/wrong/path", "check name and endpoint")
    hub.faults.answers_commit = OTHER
    bad(fetch(hub, cache), "RevisionNotFound", 2, OTHER)
    assert contents(cache) == {f"acme--none/.lock-{REVISION}": b""} or not place(cache).exists()


@pytest.mark.parametrize(
    ("given", "reason", "said"),
    [
        ({"revision": "main"}, "RevisionInvalid", "40 hexadecimal digits"),
        ({"name": "../reranker"}, "RepositoryInvalid", "OWNER/NAME"),
        ({"name": "acme/a--b"}, "RepositoryInvalid", "OWNER/NAME"),
        ({"hub": "huggingface.co"}, "SettingsInvalid", "http(s)://HOST"),
        ({"hub": "http://127.0.0.1:99999"}, "SettingsInvalid", "http(s)://HOST"),
        ({"hub": "http://somebody:hunter2@127.0.0.1"}, "SettingsInvalid", "without"),
        ({"HF_TOKEN": "hf_two\nlines"}, "SettingsInvalid", "HF_TOKEN"),
        ({"HTTP_PROXY": "gopher://somebody:hunter2@127.0.0.1"}, "SettingsInvalid", "HTTP_PROXY"),
    ],
)
def test_what_cannot_be_asked_for(given: dict[str, Any], reason: str, said: str, cache: Path) -> None:
    done = fetch(given.pop("hub", "http://127.0.0.1:1"), cache, **given)
    bad(done, reason, 2, said)
    assert "hunter2" not in done.stdout + done.stderr


def test_a_repository_without_safetensors(serve: Any, repositories: Path, cache: Path) -> None:
    put(repositories / NAME / OTHER, {"config.json": b"{}", "pytorch_model.bin": b"pickle"})
    hub = serve()
    message = bad(fetch(hub, cache, revision=OTHER), "WeightsMissing", 2, "only pytorch_model.bin", "safetensors")
    assert NAME in message
    assert len(hub.asked) == 1


def test_an_index_that_names_what_is_not_there(serve: Any, repositories: Path, cache: Path) -> None:
    put(repositories / NAME / OTHER, {name: content for name, content in SHARDED.items() if "00002-of" not in name})
    bad(fetch(serve(), cache, revision=OTHER), "ShardMissing", 2, "1 of 2 shards")


@pytest.mark.parametrize(
    "name", ["../config.json", "/etc/config.json", "a/../../config.json", "a\\..\\b", "a//b", "a\nb"]
)
def test_a_name_that_escapes_is_refused_before_anything_is_fetched(hub: LocalHub, cache: Path, name: str) -> None:
    hub.faults.also_listed = [{"rfilename": name}]
    bad(fetch(hub, cache), "NameUnsafe", 2, "no path inside a repository")
    assert len(hub.asked) == 1
    assert not place(cache).exists()


def test_a_damaged_file_is_fetched_once_more_and_then_refused(hub: LocalHub, cache: Path) -> None:
    hub.faults.damaged = ["model.safetensors", "config.json"]
    done = fetch(hub, cache)
    good(done)
    assert contents(place(cache)) == READ
    assert "model.safetensors has sha256" in done.stderr
    assert "config.json has git's" in done.stderr
    shutil.rmtree(cache)
    hub.faults.damaged = ["config.json"] * 2
    bad(fetch(hub, cache), "ChecksumMismatch", 2, "config.json", "twice")
    assert not place(cache).exists()
    good(fetch(hub, cache))


def test_a_mirror_that_lists_names_only(hub: LocalHub, cache: Path) -> None:
    hub.faults.lists_sizes = False
    good(fetch(hub, cache))
    assert contents(place(cache)) == READ
    shutil.rmtree(cache)
    hub.faults.damaged = ["model.safetensors"] * 3  # the first one is asked for its headers
    bad(fetch(hub, cache), "ChecksumMismatch", 2, "model.safetensors", "sha256")


def test_refusals_that_pass_are_waited_for(hub: LocalHub, cache: Path) -> None:
    hub.faults.refusals = [(429, {"Retry-After": "1"}), (503, {})]
    done = fetch(hub, cache)
    good(done)
    assert "429" in done.stderr
    assert "503" in done.stderr
    assert [a.status for a in hub.asked][:3] == [429, 503, 200]


def test_a_redirect_that_has_expired_is_asked_for_again(hub: LocalHub, cache: Path) -> None:
    hub.faults.cdn_refusals = [(403, {})]
    done = fetch(hub, cache)
    good(done)
    assert f"{hub.cdn}/{NAME}/{REVISION}/tokenizer.json answers 403" in done.stderr
    assert [a.port for a in hub.asked if a.path.endswith("/tokenizer.json")] == ["hub", "cdn"] * 2
    shutil.rmtree(cache)
    hub.faults.cdn_refusals = [(403, {})]
    bad(fetch(hub, cache, "--retries", 0), "HubUnreachable", 1, hub.cdn, "403")


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "86400"},
        {"Retry-After": "Fri, 01 Jan 2100 00:00:00 GMT"},
        {"RateLimit": '"resolvers";r=0;t=86400'},
    ],
)
def test_a_hub_that_asks_for_too_long_a_wait_is_left_to_the_job(
    hub: LocalHub, cache: Path, headers: dict[str, str]
) -> None:
    hub.faults.refusals = [(429, headers)]
    bad(fetch(hub, cache), "HubUnreachable", 1, "429", hub.url)
    assert len(hub.asked) == 1


def test_tries_are_bounded(hub: LocalHub, cache: Path) -> None:
    hub.faults.refusals = [(503, {})] * 9
    bad(fetch(hub, cache, "--retries", 1), "HubUnreachable", 1, "503", hub.url)
    assert len(hub.asked) == 2
    bad(fetch("http://127.0.0.1:1", cache, "--retries", 0), "HubUnreachable", 1, "http://127.0.0.1:1", "egress")


@pytest.mark.parametrize("entry", [None, {}, {"rfilename": 5}, {"rfilename": "config.json", "size": -1}])
def test_something_that_is_no_hub(hub: LocalHub, cache: Path, entry: dict[str, Any] | None) -> None:
    hub.faults.login_page = entry is None
    hub.faults.also_listed = [] if entry is None else [entry]
    bad(fetch(hub, cache), "HubAnswerInvalid", 1, hub.url, "check the endpoint")
    assert len(hub.asked) == 1


def test_a_custom_authority(serve: Any, cache: Path, tmp_path: Path) -> None:
    authority = Pair.make("authority")
    hub = serve(tls=Pair.make("localhost", authority).put(tmp_path), token=TOKEN)
    trusted = tmp_path / "ca.crt"
    trusted.write_bytes(authority.cert)
    bad(fetch(hub, cache), "CertificateUntrusted", 1, "SSL_CERT_FILE", hub.url)
    for wrong in (tmp_path / "nowhere", tmp_path / "tls.key"):
        bad(fetch(hub, cache, SSL_CERT_FILE=wrong), "CertificateUntrusted", 1, str(wrong))
    good(fetch(hub, cache, SSL_CERT_FILE=trusted, HF_TOKEN=TOKEN))
    assert contents(place(cache)) == READ
    assert {a.authorized for a in hub.asked if a.port == "cdn"} == {False}


def test_proxies(serve: Any, cache: Path, tmp_path: Path) -> None:
    authority = Pair.make("authority")
    plain, secure = serve(), serve(tls=Pair.make("localhost", authority).put(tmp_path))
    trusted = tmp_path / "ca.crt"
    trusted.write_bytes(authority.cert)
    with LocalProxy() as proxy:
        good(fetch(plain, cache, http_proxy=proxy.url))
        assert f"{plain.url}/api/models/{NAME}/revision/{REVISION}" in proxy.passed
        assert any(passed.startswith(plain.cdn) for passed in proxy.passed)
        proxy.passed.clear()
        shutil.rmtree(cache)
        good(fetch(secure, cache, SSL_CERT_FILE=trusted, HTTPS_PROXY=proxy.url))
        assert set(proxy.passed) == {url.removeprefix("https://") for url in (secure.url, secure.cdn)}
        proxy.passed.clear()
        shutil.rmtree(cache)
        good(fetch(plain, cache, HTTP_PROXY=proxy.url, NO_PROXY="127.0.0.1"))
        assert proxy.passed == []
    shutil.rmtree(cache)
    done = fetch(plain, cache, "--retries", 0, HTTP_PROXY="http://somebody:hunter2@127.0.0.1:1")
    bad(done, "HubUnreachable", 1, "proxy")
    assert "hunter2" not in done.stdout + done.stderr


def test_the_endpoint_from_the_variable(hub: LocalHub, cache: Path) -> None:
    line = command("--repository", NAME, "--revision", REVISION, cache)
    done = subprocess.run(line, env=surroundings(HF_ENDPOINT=hub.url + "/"), capture_output=True, text=True)
    good(done)
    assert contents(place(cache)) == READ


def test_the_library_is_led_by_none_of_its_variables(hub: LocalHub, cache: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    misleading = {"HF_HUB_OFFLINE": 1, "HF_DEBUG": 1, "HF_HUB_ETAG_TIMEOUT": "soon", "HF_HUB_DOWNLOAD_TIMEOUT": "x"}
    done = fetch(hub, cache, HOME=home, HF_HOME=home, HF_TOKEN_PATH=home / "token", AI_AGENT="x", **misleading)
    good(done)
    assert not home.exists()
    assert {a.path for a in hub.asked if a.port == "hub" and "resolve" not in a.path} == {
        f"/api/models/{NAME}/revision/{REVISION}"
    }


def test_neither_torch_nor_xet_is_imported(hub: LocalHub, cache: Path) -> None:
    line = arguments(hub, cache)
    listing = "import sys, runpy\ntry: runpy.run_module('reranker_runtime', run_name='__main__')\n"
    listing += "finally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([line[0], "-c", listing, *line[3:]], env=surroundings(), capture_output=True, text=True)
    good(done)
    assert {"torch", "transformers", "numpy", "hf_xet"}.isdisjoint(done.stderr.split())


def test_a_cache_that_cannot_be_written(hub: LocalHub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    bad(fetch(hub, tmp_path / "file"), "CacheUnusable", 1, str(tmp_path / "file"))


def test_a_volume_that_is_too_small(serve: Any, repositories: Path, cache: Path) -> None:
    put(repositories / NAME / OTHER, {"config.json": b"{}"})
    hub = serve()
    size = shutil.disk_usage(repositories).total * 2
    lfs = {"sha256": "0" * 64, "size": size, "pointerSize": 134}
    hub.faults.also_listed = [{"rfilename": "model.safetensors", "size": size, "lfs": lfs}]
    bad(fetch(hub, cache, revision=OTHER), "NoSpace", 1, "more in", str(cache), "are free")
    assert not any("safetensors" in a.path for a in hub.asked)


def test_the_contract_lists_every_reason_with_its_exit_code(root: Path) -> None:
    rows = [
        line for line in (root / "docs/pod-contract.md").read_text().splitlines() if line.startswith(("| 1:", "| 2:"))
    ]
    listed = {row[2]: set(re.findall(r"`(\w+)`", row.partition("of `verify`")[0])) for row in rows}
    assert listed == {
        "1": {reason.value for reason in FetchReason if reason.passing},
        "2": {reason.value for reason in FetchReason if not reason.passing},
    }


def test_a_report_fits_a_termination_message(cache: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    done = fetch("http://" + "\u00e9" * 3000, cache, "--report", report)
    assert done.returncode == 2
    assert report.read_bytes() == done.stdout.encode()
    assert len(report.read_bytes()) < 4096
    json.loads(report.read_text())


def test_a_wait_in_a_pause_ends_at_a_stop(hub: LocalHub, cache: Path) -> None:
    hub.faults.refusals = [(503, {"Retry-After": "200"})]
    with start(hub, cache) as process:
        assert process.stderr is not None
        assert "trying again in 200 s" in process.stderr.readline()
        process.terminate()
        out, err = process.communicate(timeout=DEADLINE)
    bad(subprocess.CompletedProcess([], process.returncode, out, err), "Interrupted", 1)


def test_the_hub_as_a_program(repositories: Path, cache: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = Path(__file__).with_name("localhub.py")
    line = [sys.executable, script, "--root", repositories, "--log", log, "--cut-after", str(HALF)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            good(fetch(process.stdout.readline().strip(), cache))
        finally:
            process.send_signal(signal.SIGINT)
    assert process.returncode == 0
    asked = [json.loads(line) for line in log.read_text().splitlines()]
    assert sum(a["sent"] for a in asked if a["path"].endswith("/model.safetensors")) >= len(WEIGHTS)
