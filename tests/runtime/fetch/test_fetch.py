"""fetch, as the model Job runs it: the command, a hub on loopback, a volume."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fetching import (
    DEADLINE,
    HALF,
    NAME,
    OTHER,
    READ,
    REVISION,
    SHARDED,
    WEIGHTS,
    bad,
    contents,
    fetch,
    good,
    only_weights_are_large,
    place,
    put,
    start,
    times,
    until,
)
from localhub import LocalHub


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
