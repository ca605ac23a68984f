"""What fetch refuses, what it waits for, and by what ways it reaches a hub."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import localhub
import pytest
from certificates import Pair
from fetching import (
    DEADLINE,
    HALF,
    NAME,
    OTHER,
    READ,
    REVISION,
    SHARDED,
    TOKEN,
    WEIGHTS,
    arguments,
    bad,
    command,
    contents,
    fetch,
    good,
    place,
    put,
    start,
    surroundings,
)
from localhub import LocalHub
from localproxy import LocalProxy

from reranker_runtime.errors import FetchReason


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
        ({"name": "acme/a.git"}, "RepositoryInvalid", "acme/a.git"),
        ({"name": "acme/a-"}, "RepositoryInvalid", "acme/a-"),
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


@pytest.mark.parametrize("status", [507, 530])
def test_whatever_a_server_fails_with_may_pass(hub: LocalHub, cache: Path, status: int) -> None:
    hub.faults.refusals = [(status, {})]
    bad(fetch(hub, cache, "--retries", 0), "HubUnreachable", 1, str(status), hub.url)


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
        {"RateLimit": '"resolvers";r=0;t=' + "9" * 400},
        {"RateLimit": '"resolvers";r=0;t=' + "9" * 5000},
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
    script = Path(localhub.__file__)
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
