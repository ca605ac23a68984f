"""Directories of the vision-language family: what is read from which file, and what would rank wrongly is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zoo
from safetensors.torch import load_file, save_file
from zoo.common import torch
from zoo.nemotron_vl import FLAT, NESTED

from reranker_runtime.models.blueprint import Pooling
from reranker_runtime.models.registry import describe

FAMILY = zoo.FAMILIES["llama-nemotron-vl"]


def changed(directory: Path, file: str, **values: object) -> None:
    """Values of a JSON file; None takes one out, and a dict changes an object inside."""
    path = directory / file
    whole = json.loads(path.read_text())
    for key, value in values.items():
        whole[key] = whole[key] | value if isinstance(value, dict) else value
    path.write_text(json.dumps({key: value for key, value in whole.items() if value is not None}))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A model that a test may break."""
    FAMILY.make(tmp_path)
    return tmp_path


def test_the_processor_goes_before_the_config_and_both_before_the_defaults(copy: Path) -> None:
    def seen() -> tuple[int, bool, bool]:
        vision = describe(copy).design.vision
        assert vision is not None
        return vision.most_tiles, vision.thumbnail, vision.dynamic

    assert describe(copy).limit == 2048
    changed(copy, "config.json", max_input_tiles=3, p_max_length=700)
    changed(copy, "processor_config.json", max_input_tiles=6, use_thumbnail=False)
    assert seen() == (6, False, True)
    assert "processor_config.json" in describe(copy).files
    assert describe(copy).limit == 700
    (copy / "processor_config.json").rename(copy / "preprocessor_config.json")
    assert seen() == (6, False, True)
    (copy / "preprocessor_config.json").unlink()
    assert seen() == (3, True, True)
    assert "preprocessor_config.json" not in describe(copy).files
    names = ("max_input_tiles", "use_thumbnail", "dynamic_image_size", "pooling", "temperature", "p_max_length")
    changed(copy, "config.json", **dict.fromkeys((*names, "select_layer", "downsample_ratio", "force_image_size")))
    assert seen() == (2, False, False)
    design = describe(copy).design
    assert (design.head.pooling, design.head.temperature) == ((Pooling.LAST,), 1.0)


def config(**values: object) -> Callable[[Path], None]:
    return lambda directory: changed(directory, "config.json", **values)


def processor(**values: object) -> Callable[[Path], None]:
    return lambda directory: changed(directory, "processor_config.json", **values)


def tensors(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def apply(directory: Path) -> None:
        state = load_file(directory / "model.safetensors")
        change(state)
        save_file(state, directory / "model.safetensors")

    return apply


def without(name: str) -> Callable[[Path], None]:
    return tensors(lambda state: state.pop(name))


def shaped(name: str, *shape: int) -> Callable[[Path], None]:
    return tensors(lambda state: state.update({name: torch.zeros(shape)}))


def nameless(directory: Path) -> None:
    path = directory / "tokenizer.json"
    path.write_text(path.read_text().replace("</img>", "</other>"))


FC2, POSITIONS = NESTED + "encoder.layers.1.mlp.fc2.bias", NESTED + "embeddings.position_embedding.weight"
BROKEN: dict[str, tuple[Callable[[Path], None], str, tuple[str, ...]]] = {
    "no projector": (without("model.mlp1.1.weight"), "TensorMissing", ("model.mlp1.1.weight of shape [64, 384]",)),
    "no layer": (without(FC2), "TensorMissing", (FC2,)),
    "no vision": (
        tensors(lambda state: [state.pop(name) for name in list(state) if name.startswith(FLAT)]),
        "TensorMissing",
        (NESTED, "which sees images"),
    ),
    "no score": (without("score.weight"), "TensorMissing", ("score.weight",)),
    "no words": (
        without("model.language_model.embed_tokens.weight"),
        "TensorMissing",
        ("model.language_model.embed_tokens.weight",),
    ),
    "projector of another shape": (
        shaped("model.mlp1.3.weight", 64, 32),
        "TensorMismatch",
        ("model.mlp1.3.weight in model.safetensors has shape [64, 32]", "[64, 64]"),
    ),
    "fewer positions": (shaped(POSITIONS, 49, 96), "TensorMismatch", (POSITIONS, "[49, 96]", "[64, 96]")),
    "two labels": (shaped("score.weight", 2, 64), "VariantUnsupported", ("2 labels",)),
    "more layers than there are": (
        config(vision_config={"num_hidden_layers": 10**9}),
        "TensorMissing",
        ("encoder.layers.2.",),
    ),
    "another token": (
        config(img_context_token_id=7),
        "TokenizerInvalid",
        ("config.json: img_context_token_id is 7", "tokenizer.json gives <IMG_CONTEXT>"),
    ),
    "the default token": (config(img_context_token_id=None), "TokenizerInvalid", ("is 128258",)),
    "no closing token": (nameless, "TokenizerInvalid", ("has no token '</img>'",)),
    "another layer": (config(select_layer=-2), "VariantUnsupported", ("select_layer is -2", "supported: -1")),
    "another prompt": (
        config(prompt_template="v2"),
        "VariantUnsupported",
        ("prompt_template is 'v2'", "supported: v1"),
    ),
    "no prompt": (config(prompt_template=None), "VariantUnsupported", ("prompt_template is None",)),
    "the processor's prompt": (
        processor(prompt_template="v3"),
        "VariantUnsupported",
        ("processor_config.json: prompt_template is 'v3'",),
    ),
    "another conversation": (processor(template="chat"), "VariantUnsupported", ("processor_config.json: template",)),
    "odd ratio": (config(downsample_ratio=0.4), "VariantUnsupported", ("downsample_ratio is 0.4",)),
    "ratio that does not divide": (config(downsample_ratio=1 / 3), "ConfigInvalid", ("vision_config.image_size",)),
    "another size": (config(force_image_size=64), "VariantUnsupported", ("force_image_size is 64", "supported: 32")),
    "the processor's size": (
        processor(force_image_size=64),
        "VariantUnsupported",
        ("processor_config.json: force_image_size is 64",),
    ),
    "the processor's tokens": (processor(num_image_token=256), "VariantUnsupported", ("num_image_token is 256",)),
    "no tiles": (processor(max_input_tiles=0), "ConfigInvalid", ("processor_config.json: max_input_tiles",)),
    "many tiles": (config(max_input_tiles=10**6), "VariantUnsupported", ("max_input_tiles is 1000000",)),
    "thumbnail of words": (processor(use_thumbnail="yes"), "ConfigInvalid", ("use_thumbnail must be true or false",)),
    "another tower": (
        config(vision_config={"model_type": "clip_vision_model"}),
        "VariantUnsupported",
        ("vision_config.model_type is 'clip_vision_model'",),
    ),
    "another activation": (
        config(vision_config={"hidden_act": "quick_gelu"}),
        "VariantUnsupported",
        ("vision_config.hidden_act is 'quick_gelu'",),
    ),
    "uneven heads": (
        config(vision_config={"num_attention_heads": 5}),
        "ConfigInvalid",
        ("vision_config.num_attention_heads",),
    ),
    "another pooling": (config(pooling="colbert"), "VariantUnsupported", ("pooling is 'colbert'",)),
    "no text model": (config(llm_config=None), "ConfigInvalid", ("llm_config must be an object",)),
    "no vision model": (config(vision_config=None), "ConfigInvalid", ("vision_config must be an object",)),
    "scaling of the text model": (
        config(llm_config={"rope_scaling": {"rope_type": "yarn"}}),
        "VariantUnsupported",
        ("llm_config.", "rope_type is 'yarn'"),
    ),
    "a processor that is no JSON": (
        lambda directory: (directory / "processor_config.json").write_text("{"),
        "ConfigInvalid",
        ("processor_config.json is not valid JSON",),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_directory_that_would_rank_wrongly_is_refused(invoke: Any, copy: Path, name: str) -> None:
    spoil, reason, words = BROKEN[name]
    if name == "many tiles":
        (copy / "processor_config.json").unlink()
    spoil(copy)
    done = invoke("verify", copy)
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"], report["reason"]) == (2, False, reason), report
    assert all(word in report["message"] for word in words), report["message"]


def test_verify_names_the_family(invoke: Any, copy: Path) -> None:
    report = json.loads(invoke("verify", copy).stdout)
    assert (report["ok"], report["family"]) == (True, "llama-nemotron-rerank-vl")
    assert report["architecture"] == "LlamaNemotronVLForSequenceClassification"
    assert report["files"] == 5
