"""Fetches beside each other on a volume where locks say yes and hold nobody back, as on some network volumes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

from fetching import (
    DEADLINE,
    HALF,
    READ,
    REVISION,
    arguments,
    bad,
    contents,
    fetch,
    good,
    only_weights_are_large,
    place,
    put,
    surroundings,
)
from localhub import LocalHub

UNLOCKED = "import fcntl; fcntl.flock = lambda *_: None"
DAMAGED = {"model.safetensors.incomplete": bytes(HALF)}


def partial(cache: Path) -> Path:
    return place(cache).parent / f".partial-{REVISION}"


def after(program: str, hub: LocalHub, cache: Path) -> list[str]:
    """The command, in a process that has run a program first."""
    return [
        sys.executable,
        "-c",
        f"{program}\nfrom reranker_runtime.cli import main; main()",
        *arguments(hub, cache)[3:],
    ]


def beside(hub: LocalHub, cache: Path) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(after(UNLOCKED, hub, cache), env=surroundings(), stdout=pipe, stderr=pipe, text=True)


def test_a_damaged_start_that_two_go_on_from_is_not_blamed_on_the_hub(hub: LocalHub, cache: Path) -> None:
    only_weights_are_large(hub)
    put(partial(cache), DAMAGED)
    turns = [threading.Event() for _ in range(4)]
    hub.faults.holds = [(100_000, turn) for turn in turns]
    with beside(hub, cache) as first:
        assert hub.wait(lambda: hub.holding == 1)
        with beside(hub, cache) as second:
            assert hub.wait(lambda: hub.holding == 2)
            turns[0].set()  # the first finds the damage, and starts anew
            assert hub.wait(lambda: hub.holding == 3)
            turns[1].set()  # the second comes to its end while that is half written
            assert hub.wait(lambda: hub.holding == 4)
            turns[2].set()
            out, err = first.communicate(timeout=DEADLINE)
            assert json.loads(out)["ok"], err
            turns[3].set()
            out, err = second.communicate(timeout=DEADLINE)
            assert json.loads(out)["ok"], err
    assert contents(place(cache)) == READ | {"tokenizer.json": b"{}"}


def test_what_was_left_damaged_is_not_held_against_the_hub(hub: LocalHub, cache: Path) -> None:
    put(partial(cache), DAMAGED)
    hub.faults.damaged = ["model.safetensors"] * 2  # what goes on from the left bytes, and once from the start
    good(fetch(hub, cache))
    assert contents(place(cache)) == READ


def test_a_file_of_another_size_than_listed_may_pass(hub: LocalHub, cache: Path) -> None:
    hub.faults.answers = [("/vocab.txt", 200, b"not now", {})] * 3
    (hub.root / "acme/reranker" / REVISION / "vocab.txt").write_bytes(b"a word")
    bad(fetch(hub, cache), "HubUnreachable", 1, "vocab.txt", "more than 6 bytes")
    good(fetch(hub, cache))


def test_a_lock_that_cannot_be_removed_is_no_failure(hub: LocalHub, cache: Path) -> None:
    spoilt = (
        "import pathlib; old = pathlib.Path.unlink\n"
        "def unlink(path, missing_ok=False):\n"
        "    if '.lock-' in path.name: raise OSError(116, 'Stale file handle')\n"
        "    old(path, missing_ok)\n"
        "pathlib.Path.unlink = unlink"
    )
    line = after(spoilt, hub, cache)
    good(subprocess.run(line, env=surroundings(), capture_output=True, text=True, timeout=DEADLINE))
