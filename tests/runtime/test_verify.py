"""`verify` as a person or a pod uses it, on models that are whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import zoo
from safetensors.torch import load_file, save_file


def test_verify_reports_what_is_there(models: Any, run: Any, tmp_path: Path) -> None:
    report = tmp_path / "termination-log"
    done = run("verify", "--report", report, models.bert)
    assert done.returncode == 0
    assert done.stderr == ""
    assert report.read_text() == done.stdout
    said = json.loads(done.stdout)
    assert said.pop("digest").startswith("sha256:")
    assert said.pop("parameters") > 100_000
    assert said.pop("bytes") > 400_000
    assert said == {
        "ok": True,
        "architecture": "BertForSequenceClassification",
        "family": "bert",
        "dtype": "float32",
        "maxTokens": 514,
        "files": 4,
    }
    assert list(json.loads(done.stdout))[:2] == ["ok", "digest"]


def test_the_digest_is_what_sha256sum_gives(models: Any, run: Any) -> None:
    single = models.copy(models.bert, "single-shard")
    tensors = load_file(single / "model.safetensors")
    (single / "model.safetensors").rename(single / "model-1.safetensors")
    index = {"weight_map": dict.fromkeys(tensors, "model-1.safetensors")}
    (single / "model.safetensors.index.json").write_text(json.dumps(index))
    for directory in (models.sharded, models.sentence("cls"), single):
        files = [p.relative_to(directory) for p in directory.rglob("*") if p.is_file()]
        script = "sha256sum " + " ".join(map(str, files)) + " | LC_ALL=C sort -k2 | sha256sum"
        by_hand = subprocess.run(script, shell=True, cwd=directory, capture_output=True, text=True, check=True)
        said = json.loads(run("verify", directory).stdout)
        assert said["digest"] == "sha256:" + by_hand.stdout.split()[0]
        assert said["files"] == len(files)
        good = run("verify", "--digest", said["digest"], directory)
        assert good.returncode == 0


def test_another_digest_is_refused_with_both(models: Any, run: Any) -> None:
    other = "sha256:" + "1" * 64
    done = run("verify", "--digest", other, models.bert)
    assert done.returncode == 2
    said = json.loads(done.stdout)
    actual = json.loads(run("verify", models.bert).stdout)["digest"]
    assert said["reason"] == "DigestMismatch"
    assert other in said["message"]
    assert actual in said["message"]


def test_quick_reports_no_digest_and_takes_none(models: Any, run: Any) -> None:
    assert "digest" not in json.loads(run("verify", "--quick", models.bert).stdout)
    for wrong in (["--quick", "--digest", "sha256:" + "1" * 64], ["--digest", "abc"]):
        done = run("verify", *wrong, models.bert)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1


RECOGNISED = {
    "bert": ("BertForSequenceClassification", "bert", 512),
    "electra": ("ElectraForSequenceClassification", "electra", 512),
    "roberta": ("RobertaForSequenceClassification", "roberta", 300),
    "xlmr": ("XLMRobertaForSequenceClassification", "roberta", 512),
    "modernbert": ("ModernBertForSequenceClassification", "modernbert", 512),
    "deberta-v2": ("DebertaV2ForSequenceClassification", "deberta-v2", 512),
    "llama-bidirec": ("LlamaBidirectionalForSequenceClassification", "llama-bidirec", 2048),
    "mistral": ("MistralBidirectionalForSequenceClassification", "llama-bidirec", 512),
    "qwen3": ("Qwen3ForCausalLM", "qwen3-reranker", 4096),
    "qwen3-classifier": ("Qwen3ForSequenceClassification", "qwen3-reranker", 4096),
    "mxbai-v2": ("Qwen2ForCausalLM", "mxbai-rerank-v2", 4096),
    "bge-gemma": ("GemmaForCausalLM", "bge-reranker-gemma", 512),
    "sentence": ("BertModel", "sentence-encoder", 128),
    "llama-nemotron-vl": ("LlamaNemotronVLForSequenceClassification", "llama-nemotron-rerank-vl", 2048),
}
"""By how a name in the zoo begins, the longest that fits."""


def test_verify_names_what_it_recognised_and_imports_neither_torch_nor_the_server(made: Any) -> None:
    """Every family in one process: what any of them had imported would be seen at the end."""
    names = list(zoo.FAMILIES)
    listed = (
        "import sys\nfrom reranker_runtime.cli import main\n"
        "for path in sys.argv[1:]:\n    main(['verify', path], standalone_mode=False)\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    line = [sys.executable, "-c", listed, *(str(made(name)) for name in names)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(report["ok"] for report in said)
    for name, report in zip(names, said, strict=True):
        kind = max((key for key in RECOGNISED if name.startswith(key)), key=len)
        assert (report["architecture"], report["family"], report["maxTokens"]) == RECOGNISED[kind], name
    heavy = {"torch", "transformers", "numpy", "starlette", "uvicorn", "tokenizers", "pydantic", "safetensors", "rich"}
    assert (heavy | {"PIL"}).isdisjoint(done.stderr.split())


def test_a_classifier_with_labels_is_no_reranker(models: Any, run: Any) -> None:

    directory = models.copy(models.bert, "labels")
    weights = load_file(directory / "model.safetensors")
    weights["classifier.weight"], weights["classifier.bias"] = torch.zeros(3, 64), torch.zeros(3)
    save_file(weights, directory / "model.safetensors")
    said = json.loads(run("verify", directory).stdout)
    assert said["reason"] == "VariantUnsupported"
    assert "3 labels" in said["message"]


def test_verify_says_where_it_looked(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for path in (tmp_path / "nowhere", file):
        done = run("verify", path)
        assert done.returncode == 2
        said = json.loads(done.stdout)
        assert said["reason"] == "DirectoryMissing"
        assert str(path) in said["message"]
