"""`rank` as a person or a program uses it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

PASSAGES = ["w1 w2", "w3", "w4 w5 w6"]


def test_scores_that_are_no_numbers_are_an_error(models: Any, run: Any, start: Any) -> None:

    directory = models.copy(models.bert, "nan")
    weights = load_file(directory / "model.safetensors")
    weights["classifier.bias"] = torch.tensor([float("nan")])
    save_file(weights, directory / "model.safetensors")
    served = start(directory, NIM_LOG_LEVEL="error")
    done = run("rank", "--model", directory, "--query", "w1", "w2")
    assert (done.returncode, done.stdout) == (2, "")
    assert served.process.wait(60) == 2
    for said in (done.stderr, served.log):  # the server finds out while it warms up
        assert said.startswith("error: passages.0: no finite score in ")
        assert len(said.splitlines()) == 1


def test_rank_prints_a_table_for_people(models: Any, run: Any) -> None:
    done = run(
        "rank", "--model", models.bert, "-q", "w1", *PASSAGES, "[bold]w9[/bold]", "w8 " * 99, NIM_PRECISION="fp32"
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["rank", "logit", "passage"]
    assert [line.split()[0] for line in lines[1:]] == ["1", "2", "3", "4", "5"]
    logits = [float(line.split()[1]) for line in lines[1:]]
    assert logits == sorted(logits, reverse=True)
    shown = {line.split(maxsplit=2)[2].strip() for line in lines[1:]}
    assert {*PASSAGES, "[bold]w9[/bold]"} < shown
    assert all(len(line) <= 80 for line in lines)


def test_rank_prints_json_for_programs_from_arguments_file_and_stdin(
    models: Any, invoke: Any, bert: Any, tmp_path: Path
) -> None:
    wanted = bert.rank("w1", PASSAGES).json()
    lines = tmp_path / "passages.txt"
    lines.write_text("\n".join(PASSAGES) + "\n\n")
    base = ["rank", "--query", "w1", "--json"]
    fixed = {"NIM_MODEL_PATH": models.bert, "NIM_PRECISION": "fp32"}
    for done in (
        invoke(*base, "--file", lines, **fixed),
        invoke(*base, stdin="\n".join(PASSAGES), **fixed),
        invoke(*base, PASSAGES[0], "--file", "-", stdin="\n".join(PASSAGES[1:]), **fixed),
    ):
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert [item["index"] for item in said["rankings"]] == [item["index"] for item in wanted["rankings"]]
        assert said["rankings"][0]["logit"] == pytest.approx(wanted["rankings"][0]["logit"], abs=1e-6)
        assert said["usage"] == wanted["usage"]


def test_rank_splits_lines_at_line_feeds_only(models: Any, invoke: Any) -> None:
    done = invoke("rank", "--model", models.bert, "-q", "w1", "--json", stdin="w1\x0bw2\u2028w3\r\nw4\x85w5\n")
    assert len(json.loads(done.stdout)["rankings"]) == 2


def test_rank_takes_text_only(models: Any, run: Any) -> None:
    for args in (("-q", "caf\udce9", "w2"), ("-q", "w1", "caf\udce9")):
        done = run("rank", "--model", models.bert, *args)
        assert (done.returncode, done.stdout) == (2, "")
        assert len(done.stderr.splitlines()) == 1
        assert "not UTF-8" in done.stderr


def test_rank_explains_itself_in_one_line(models: Any, invoke: Any, tmp_path: Path, words: Any) -> None:
    model = ["--model", models.bert]
    latin = tmp_path / "latin"
    latin.write_bytes(b"\xe9t\xe9")
    for args, said in (
        (["--query", "w1", "w2"], "NIM_MODEL_PATH"),
        (["--model", tmp_path, "--query", "w1", "w2"], "config.json"),
        ([*model, "--query", "w1"], "no passages"),
        ([*model, "--query", "w1", "--file", tmp_path / "none"], "No such file"),
        ([*model, "--query", "w1", "--file", latin], "UTF-8"),
        ([*model, "--query", "w1", "--precision", "fp8", "w2"], "fp8"),
        ([*model, "--query", "w1", "--truncate", "none", words(600)], "Input length 604 exceeds"),
    ):
        done = invoke("rank", *args)
        assert done.returncode == 2
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
        assert said in done.stderr
    done = invoke("rank", *model, "w2")
    assert done.returncode == 2
    assert "--query" in done.stderr


def test_rank_tells_what_was_cut_and_shows_the_best(models: Any, invoke: Any, words: Any) -> None:
    done = invoke("rank", *["--model", models.bert, "--query", "w1", "--top", "1", words(600), "w2"])
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == "1 of 2 passages were cut at the model's limit\n"
