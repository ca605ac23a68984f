"""What `verify` refuses: every way in which a model directory is damaged or asks for what the engine cannot do."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from reranker_runtime.cli import main


def edit(file: str, **values: Any) -> Callable[[Path], None]:
    """A change to a JSON file: a value of None takes the key away."""

    def change(directory: Path) -> None:
        path = directory / file
        content = json.loads(path.read_text()) | values
        path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return change


def put(file: str, content: bytes) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        (directory / file).parent.mkdir(exist_ok=True)
        (directory / file).write_bytes(content)

    return change


def drop(file: str) -> Callable[[Path], None]:
    return lambda directory: (directory / file).unlink()


def cut(file: str, size: int) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        content = (directory / file).read_bytes()
        (directory / file).write_bytes(content[:size])

    return change


def rename_tensor(old: str, new: str) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        path = directory / "model.safetensors"
        path.write_bytes(path.read_bytes().replace(old.encode(), new.encode(), 1))

    return change


def first_shard(change: Callable[[str], Callable[[Path], None]]) -> Callable[[Path], None]:
    def find(directory: Path) -> None:
        change(min(p.name for p in directory.glob("*.safetensors")))(directory)

    return find


def both(*changes: Callable[[Path], None]) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        for part in changes:
            part(directory)

    return change


def pipe(file: str) -> Callable[[Path], None]:
    return both(drop(file), lambda directory: os.mkfifo(directory / file))


def link(file: str, target: str) -> Callable[[Path], None]:
    return both(drop(file), lambda directory: (directory / file).symlink_to(target))


def grow(file: str, size: int) -> Callable[[Path], None]:
    return lambda directory: os.truncate(directory / file, size)


def word(old: str, new: str) -> Callable[[Path], None]:
    """Another name for one word of tokenizer.json's vocabulary."""

    def change(directory: Path) -> None:
        path = directory / "tokenizer.json"
        content = json.loads(path.read_text())
        vocabulary = content["model"]["vocab"]
        vocabulary[new] = vocabulary.pop(old)
        path.write_text(json.dumps(content))

    return change


def tensors(**changed: Any) -> Callable[[Path], None]:
    """Other weights; dots in names are written as two underscores."""

    def change(directory: Path) -> None:
        path = directory / "model.safetensors"
        save_file(load_file(path) | {name.replace("__", "."): value for name, value in changed.items()}, path)

    return change


def notes(value: Any) -> Callable[[Path], None]:
    """Another __metadata__ in the safetensors header."""

    def change(directory: Path) -> None:
        path = directory / "model.safetensors"
        content = path.read_bytes()
        end = 8 + int.from_bytes(content[:8], "little")
        header = json.dumps(json.loads(content[8:end]) | {"__metadata__": value}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + content[end:])

    return change


def template(pieces: list[Any], token: int = 2) -> Callable[[Path], None]:
    special = {"[CLS]": {"id": "[CLS]", "ids": [token], "tokens": ["[CLS]"]}}
    made = {"type": "TemplateProcessing", "single": pieces, "pair": pieces, "special_tokens": special}
    return edit("tokenizer.json", post_processor=made)


TEXT = {"Sequence": {"id": "A", "type_id": 0}}
CLS = {"SpecialToken": {"id": "[CLS]", "type_id": 0}}
DOT = put("config_sentence_transformers.json", b'{"similarity_fn_name": "dot"}')
UNNORMALISED = put("modules.json", b'[{"type": "x.Transformer"}, {"type": "x.Pooling", "path": "1_Pooling"}]')
LONG = {"a": "x" * 300 + ".safetensors"}

REFUSALS = [
    ("bert", put("pytorch_model.bin", b"x"), "PickleFound", "pytorch_model.bin"),
    ("bert", put("old/model.PT", b"x"), "PickleFound", "old/model.PT"),
    ("bert", put("a.pth", b""), "PickleFound", "a.pth"),
    ("bert", put("a.ckpt", b""), "PickleFound", "a.ckpt"),
    ("bert", put("a.pkl", b""), "PickleFound", "safetensors"),
    ("bert", drop("config.json"), "ConfigMissing", "config.json"),
    ("bert", put("config.json", b"{"), "ConfigInvalid", "config.json"),
    ("bert", put("config.json", b"[]"), "ConfigInvalid", "config.json"),
    ("bert", edit("config.json", architectures=["GPT2Model"]), "ArchitectureUnknown", "GPT2Model"),
    ("bert", edit("config.json", architectures=None), "ConfigInvalid", "architectures"),
    ("bert", edit("config.json", architectures=["BertModel"]), "VariantUnsupported", "modules.json"),
    ("bert", edit("config.json", hidden_size="wide"), "ConfigInvalid", "hidden_size"),
    ("bert", edit("config.json", num_attention_heads=5), "ConfigInvalid", "num_attention_heads"),
    ("bert", edit("config.json", hidden_act="mish"), "VariantUnsupported", "mish"),
    ("bert", edit("config.json", position_embedding_type="relative_key"), "VariantUnsupported", "relative_key"),
    ("bert", edit("config.json", intermediate_size=129), "TensorMismatch", "intermediate.dense"),
    ("bert", edit("config.json", num_hidden_layers=3), "TensorMissing", "encoder.layer.2"),
    ("bert", rename_tensor("classifier.bias", "classifier.bios"), "TensorMissing", "classifier.bias"),
    ("bert", edit("config.json", vocab_size=20), "TokenizerInvalid", "vocab_size 20"),
    ("bert", drop("tokenizer.json"), "TokenizerMissing", "save_pretrained"),
    ("bert", put("tokenizer.json", b"{}"), "TokenizerInvalid", "tokenizer.json"),
    ("bert", put("tokenizer.json", b"no"), "TokenizerInvalid", "tokenizer.json"),
    ("bert", drop("model.safetensors"), "WeightsMissing", "model.safetensors"),
    ("bert", cut("model.safetensors", 100_000), "ShardTruncated", "model.safetensors"),
    ("bert", cut("model.safetensors", 100), "ShardTruncated", "model.safetensors"),
    ("bert", cut("model.safetensors", 0), "ShardTruncated", "0 bytes"),
    ("bert", put("model.safetensors", b"\x80\x04" * 4000), "ShardInvalid", "model.safetensors"),
    ("bert", put("model.safetensors", (2).to_bytes(8, "little") + b"{}"), "TensorMissing", "word_embeddings"),
    ("bert", put("model.safetensors", (2).to_bytes(8, "little") + b"{}x"), "ShardInvalid", "1 bytes follow"),
    ("bert", put("modules.json", b'[{"type": "x.Transformer"}, {"type": "x.Dense"}]'), "VariantUnsupported", "Dense"),
    ("sharded", first_shard(drop), "ShardMissing", "-00001-of-"),
    ("sharded", first_shard(lambda file: cut(file, 20_000)), "ShardTruncated", "-00001-of-"),
    ("sharded", drop("model.safetensors.index.json"), "ShardMissing", "index"),
    ("sharded", edit("model.safetensors.index.json", weight_map={"a": "../b.safetensors"}), "ConfigInvalid", "../b"),
    ("sharded", edit("model.safetensors.index.json", weight_map=None), "ConfigInvalid", "weight_map"),
    ("mean", drop("1_Pooling/config.json"), "ConfigMissing", "1_Pooling"),
    ("mean", edit("1_Pooling/config.json", pooling_mode="median"), "VariantUnsupported", "1_Pooling/config.json"),
    ("mean", put("modules.json", b"{}"), "ConfigInvalid", "modules.json"),
    (
        "mean",
        put("config_sentence_transformers.json", b'{"similarity_fn_name": "euclidean"}'),
        "VariantUnsupported",
        "eu",
    ),
    ("mean", both(DOT, UNNORMALISED), "VariantUnsupported", "Normalize"),
    ("mean", put("config_sentence_transformers.json", b'{"model_type": "CrossEncoder"}'), "VariantUnsupported", "Cro"),
    ("mean", put("config_sentence_transformers.json", b'{"truncate_dim": 8}'), "VariantUnsupported", "truncate_dim"),
    ("bert", edit("tokenizer.json", post_processor=None), "TokenizerInvalid", "post_processor"),
    ("bert", template([TEXT, CLS]), "TokenizerInvalid", "post_processor"),
    ("cls", edit("tokenizer.json", post_processor={"type": "ByteLevel"}), "TokenizerInvalid", "post_processor"),
    ("bert", template([CLS, TEXT], token=99_999), "TokenizerInvalid", "99999"),
    ("bert", edit("tokenizer.json", model={"vocab": {"a": 0}}), "TokenizerInvalid", "vocabulary"),
    ("bert", edit("tokenizer.json", added_tokens=[{"id": math.inf}]), "TokenizerInvalid", "tokenizer.json"),
    ("bert", edit("config.json", layer_norm_eps=10**400), "ConfigInvalid", "layer_norm_eps"),
    ("bert", edit("config.json", hidden_act=[]), "VariantUnsupported", "hidden_act"),
    ("bert", edit("config.json", num_hidden_layers=10**9), "ConfigInvalid", "num_hidden_layers"),
    ("bert", edit("config.json", architectures=["é" * 3000]), "ArchitectureUnknown", "éé"),
    ("sharded", edit("model.safetensors.index.json", weight_map=LONG), "DirectoryUnreadable", "name too long"),
    ("bert", pipe("config.json"), "ConfigInvalid", "config.json is not a regular file"),
    ("bert", pipe("model.safetensors"), "ShardInvalid", "model.safetensors is not a regular file"),
    ("bert", link("tokenizer.json", "/dev/zero"), "TokenizerInvalid", "tokenizer.json is not a regular file"),
    ("bert", grow("config.json", 2**28 + 1), "ConfigInvalid", "larger than"),
    ("bert", notes({"format": 1}), "ShardInvalid", "__metadata__"),
    ("bert", edit("tokenizer_config.json", model_max_length=3), "LimitExceeded", "model_max_length"),
]


OWN = len(REFUSALS)
"""So many are of the models of conftest, the others of the zoo."""
YARN = {"rope_type": "yarn", "factor": 4.0}
MODULES = b'[{"type": "x.Transformer"}, {"type": "x.LogitScore", "path": "1_LogitScore"}, {"type": "x.Dense"}]'
ROPE = {"full_attention": {"rope_type": "linear", "factor": 2.0}, "sliding_attention": {}}
QUANTISED = {"quant_method": "gptq", "bits": 4}

REFUSALS += [
    ("llama-bidirec", rename_tensor("2.mlp.up_proj", "2.mlp.up_porj"), "TensorMissing", "model.layers.2.mlp.up_proj"),
    ("llama-bidirec", rename_tensor("score.weight", "scope.weight"), "TensorMissing", " score.weight"),
    ("llama-bidirec", edit("config.json", head_dim=32), "TensorMismatch", "layers.0.self_attn.q_proj.weight"),
    ("llama-bidirec", edit("config.json", head_dim=15), "ConfigInvalid", "head_dim"),
    ("llama-bidirec", edit("config.json", num_key_value_heads=3), "ConfigInvalid", "num_key_value_heads"),
    ("llama-bidirec", edit("config.json", num_hidden_layers=10**9), "ConfigInvalid", "num_hidden_layers"),
    ("llama-bidirec", edit("config.json", rope_scaling=YARN), "VariantUnsupported", "rope_scaling.rope_type"),
    ("llama-bidirec", edit("config.json", rope_parameters=YARN), "VariantUnsupported", "rope_parameters.rope_type"),
    ("llama-bidirec", edit("config.json", rope_scaling=[]), "ConfigInvalid", "rope_scaling"),
    ("llama-bidirec", edit("config.json", pooling="max"), "VariantUnsupported", "pooling"),
    ("llama-bidirec", edit("config.json", temperature=0), "ConfigInvalid", "temperature"),
    ("llama-bidirec", edit("config.json", mlp_bias=True), "VariantUnsupported", "mlp_bias"),
    ("llama-bidirec", edit("config.json", quantization_config=QUANTISED), "VariantUnsupported", "quantization_config"),
    ("llama-bidirec", tensors(score__weight=torch.zeros(2, 64)), "VariantUnsupported", "2 labels"),
    ("mistral", edit("config.json", attention_bias=True), "VariantUnsupported", "attention_bias"),
    ("qwen3-causal", edit("config.json", attention_bias=True), "VariantUnsupported", "attention_bias"),
    ("qwen3-causal", edit("config.json", is_causal=False), "VariantUnsupported", "is_causal"),
    ("qwen3-causal", edit("config.json", vocab_size=100), "TokenizerInvalid", "vocab_size 100"),
    ("qwen3-causal", edit("config.json", hidden_act="xielu"), "VariantUnsupported", "hidden_act"),
    ("qwen3-causal", word("yes", "yea"), "TokenizerInvalid", "'yes'"),
    ("qwen3-causal", rename_tensor("1.self_attn.q_norm", "1.self_attn.q_nrom"), "TensorMissing", "q_norm.weight"),
    ("qwen3-causal", rename_tensor("lm_head.weight", "lm_haed.weight"), "TensorMissing", " lm_head.weight"),
    ("qwen3-causal", put("modules.json", MODULES), "VariantUnsupported", "modules.json"),
    ("qwen3-tied", edit("config.json", tie_word_embeddings=False), "TensorMissing", " lm_head.weight"),
    ("qwen3-tied", edit("config.json", tie_word_embeddings="no"), "ConfigInvalid", "tie_word_embeddings"),
    ("qwen3-classifier", tensors(score__weight=torch.zeros(2, 64)), "VariantUnsupported", "2 labels"),
    ("qwen3-sentence", drop("1_LogitScore/config.json"), "ConfigInvalid", "1_LogitScore/config.json"),
    ("qwen3-sentence", edit("1_LogitScore/config.json", true_token_id=10**6), "ConfigInvalid", "true_token_id"),
    ("mxbai-v2", word("1", "one"), "TokenizerInvalid", "'1'"),
    ("mxbai-v2", rename_tensor("0.self_attn.k_proj.bias", "0.self_attn.k_proj.bios"), "TensorMissing", "k_proj.bias"),
    ("bge-gemma", word("Yes", "Yea"), "TokenizerInvalid", "'Yes'"),
    ("bge-gemma", first_shard(drop), "ShardMissing", "-00001-of-"),
    ("modernbert-mean", edit("config.json", layer_types=["full_attention"]), "ConfigInvalid", "layer_types"),
    ("modernbert-mean", edit("config.json", num_hidden_layers=10**9), "ConfigInvalid", "num_hidden_layers"),
    ("modernbert-mean", edit("config.json", rope_parameters=ROPE), "VariantUnsupported", "full_attention.rope_type"),
    ("modernbert-cls", edit("config.json", classifier_pooling="max"), "VariantUnsupported", "classifier_pooling"),
    ("modernbert-cls", rename_tensor("4.mlp.Wi", "4.mlp.Wa"), "TensorMissing", "model.layers.4.mlp.Wi.weight"),
    ("modernbert-cls", rename_tensor("head.dense", "head.dents"), "TensorMissing", " head.dense.weight"),
    ("modernbert-cls", edit("config.json", classifier_bias=True), "TensorMissing", " head.dense.bias"),
    (
        "deberta-v2",
        rename_tensor("1.attention.self.key_proj", "1.attention.self.kee_proj"),
        "TensorMissing",
        "key_proj",
    ),
    ("deberta-v2", edit("config.json", pooler_hidden_size=32), "VariantUnsupported", "pooler_hidden_size"),
    ("electra", edit("config.json", embedding_size=64), "TensorMismatch", "word_embeddings"),
    ("xlmr", edit("config.json", pad_token_id=600), "ConfigInvalid", "max_position_embeddings"),
    ("sentence-cls", edit("1_Pooling/config.json", pooling_mode=["cls", "median"]), "VariantUnsupported", "median"),
    ("sentence-dense", drop("2_Dense/model.safetensors"), "WeightsMissing", "2_Dense/model.safetensors"),
    ("sentence-dense", drop("2_Dense/config.json"), "ConfigInvalid", "2_Dense/config.json"),
    ("sentence-dense", put("2_Dense/pytorch_model.bin", b"x"), "PickleFound", "2_Dense/pytorch_model.bin"),
    ("sentence-dense", cut("2_Dense/model.safetensors", 100), "ShardTruncated", "2_Dense/model.safetensors"),
    ("sentence-dense", edit("2_Dense/config.json", out_features=49), "TensorMismatch", "linear.weight"),
    ("sentence-dense", edit("2_Dense/config.json", activation_function="x.Swish"), "VariantUnsupported", "x.Swish"),
    ("sentence-dense", edit("2_Dense/config.json", in_features=32), "VariantUnsupported", "in_features"),
]


@pytest.mark.parametrize("number", range(len(REFUSALS)), ids=lambda n: f"{REFUSALS[n][2]}-{REFUSALS[n][3]}")
def test_verify_refuses(models: Any, made: Any, number: int) -> None:
    """In this process, through the command itself: a hundred interpreters would say the same more slowly."""

    kind, change, reason, named = REFUSALS[number]
    if number < OWN:
        source = models.sentence(kind) if kind in ("mean", "cls") else getattr(models, kind)
    else:
        source = made(kind)
    directory = models.copy(source, f"refused-{number}")
    change(directory)
    done = CliRunner().invoke(main, ["verify", "--quick", str(directory)])
    said = json.loads(done.stdout)
    assert done.exit_code == 2
    assert (said["ok"], said["reason"]) == (False, reason)
    assert named in said["message"]
    assert len(done.stdout.splitlines()) == 1
    assert len(done.stdout) < 4096


def test_verify_takes_what_changes_no_score(models: Any, invoke: Any) -> None:
    taken = [
        ("mean", DOT),
        ("mean", edit("tokenizer.json", post_processor=None)),
        ("bert", notes({"format": "pt"})),
        ("bert", edit("tokenizer_config.json", model_max_length=4)),
    ]
    for number, (kind, change) in enumerate(taken):
        source = models.sentence(kind) if kind == "mean" else getattr(models, kind)
        directory = models.copy(source, f"taken-{number}")
        change(directory)
        done = invoke("verify", "--quick", directory)
        assert done.returncode == 0, done.stdout
        ranked = invoke("rank", "--model", directory, "-q", "w1", "w2", "--json")
        assert ranked.returncode == 0, ranked.stderr


def test_rank_refuses_what_verify_refuses(models: Any, invoke: Any) -> None:
    directory = models.copy(models.bert, "absurd")
    edit("config.json", layer_norm_eps=10**400)(directory)
    for model, said in ((directory, "layer_norm_eps"), ("x" * 300, "name too long")):
        done = invoke("rank", "--model", model, "-q", "w1", "w2")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: ")
        assert len(done.stderr.splitlines()) == 1
        assert said in done.stderr


def unprivileged(*args: object) -> subprocess.CompletedProcess[str]:
    """Run a command without root's right to pass over permissions, for whoever runs the tests as root."""
    drop_and_run = (
        "import ctypes, os, sys\n"
        "for right in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, out of the bounding set\n"
        "    ctypes.CDLL(None).prctl(24, right, 0, 0, 0)\n"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    line = [sys.executable, "-c", drop_and_run, sys.executable, "-m", "reranker_runtime", *map(str, args)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_permissions_matter_for_the_directory_and_not_for_a_lost_and_found(models: Any, tmp_path: Path) -> None:
    directory = models.copy(models.bert, "volume")
    closed = directory / "lost+found"
    closed.mkdir(mode=0)
    done = unprivileged("verify", "--quick", directory)
    assert done.returncode == 0, done.stdout
    closed.chmod(0o700)
    report = tmp_path / "report"
    for shut, asked in ((directory, directory), (directory, directory / "lost+found")):
        shut.chmod(0)
        done = unprivileged("verify", "--quick", "--report", report, asked)
        shut.chmod(0o700)
        assert done.returncode == 2
        said = json.loads(done.stdout)
        assert said["reason"] == "DirectoryUnreadable"
        assert str(asked) in said["message"]
        assert report.read_text() == done.stdout
