"""Sentence encoders: each text is a vector, the score is the cosine of two. Read from modules.json and what it names.

Written by sentence-transformers; both its older keys (pooling_mode_mean_tokens) and the newer (pooling_mode) are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from reranker_runtime.artifacts.files import CONFIG, MODULES, PROMPTS, SENTENCE_CONFIG, WEIGHTS, read_json, read_object
from reranker_runtime.artifacts.tensors import read_header
from reranker_runtime.errors import ModelError, Reason
from reranker_runtime.models import bert, decoder, modernbert
from reranker_runtime.models.blueprint import Body, Dense, Design, Family, Head, Pooling, Single
from reranker_runtime.models.config import Config
from reranker_runtime.models.geometry import Activation
from reranker_runtime.models.source import Source, check_tensor

POOLING: Final = {
    "cls": Pooling.CLS,
    "max": Pooling.MAX,
    "mean": Pooling.MEAN,
    "mean_sqrt_len_tokens": Pooling.MEAN_SQRT,
    "weightedmean": Pooling.WEIGHTED_MEAN,
    "lasttoken": Pooling.LAST,
}
OLD_POOLING: Final = {
    "pooling_mode_cls_token": "cls",  # the name of a way of pooling  # nosec B105
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
ACTIVATIONS: Final = {
    "torch.nn.modules.activation.Tanh": Activation.TANH,
    "torch.nn.modules.activation.ReLU": Activation.RELU,
    "torch.nn.modules.activation.GELU": Activation.GELU,
    "torch.nn.modules.activation.SiLU": Activation.SILU,
    "torch.nn.modules.linear.Identity": None,
}
UNDER_ANOTHER_NAME: Final = ("Qwen3ForCausalLM",)
"""What Qwen3-Embedding's config.json says, though its files hold no language model; modules.json tells."""
CHAIN: Final = "Transformer -> Pooling [-> Dense ...] [-> Normalize]"
Found = dict[str, tuple[str, str]]


def read_modules(directory: Path) -> tuple[tuple[str, str], ...]:
    """(kind, folder) of each module; empty where there is no modules.json."""
    path = directory / MODULES
    if not path.exists():
        return ()
    modules = read_json(path)
    if not isinstance(modules, list) or not all(
        isinstance(m, dict) and isinstance(m.get("type"), str) and isinstance(m.get("path", ""), str) for m in modules
    ):
        raise ModelError(Reason.CONFIG_INVALID, f"{path} is no list of modules; copy the file from the model again")
    named = tuple((m["type"].rpartition(".")[2], _inside(path, m.get("path", ""))) for m in modules)
    if named and named[0][0] == "Transformer" and named[0][1] != ".":
        raise ModelError(
            Reason.VARIANT_UNSUPPORTED,
            f"{path} keeps the transformer in {named[0][1]!r}; supported: in the directory itself",
        )
    return named


def _inside(path: Path, name: str) -> str:
    inside = PurePosixPath(name)
    if inside.is_absolute() or ".." in inside.parts or "\\" in name:
        raise ModelError(Reason.CONFIG_INVALID, f"{path} points outside the directory: {name!r}")
    return inside.as_posix()


def read(source: Source) -> Design:
    kinds = [kind for kind, _ in source.modules]
    if (kinds[:1] == ["Transformer"] and len(kinds) < 2) or not kinds:  # noqa: PLR2004 - a chain needs pooling
        raise ModelError(
            Reason.VARIANT_UNSUPPORTED,
            f"{source.architecture} in {source.config.path} has no ranking head, and no {MODULES} beside it says how "
            "to pool; use a cross-encoder, or a sentence-transformers directory with its module folders",
        )
    middle = kinds[2:-1] if kinds[-1] == "Normalize" else kinds[2:]
    if kinds[:2] != ["Transformer", "Pooling"] or set(middle) - {"Dense"}:
        raise ModelError(
            Reason.VARIANT_UNSUPPORTED,
            f"{source.directory / MODULES} lists {' -> '.join(kinds)}; supported: {CHAIN}",
        )
    body = _body(source)
    pooling_file = f"{source.modules[1][1]}/{CONFIG}"
    pooled = _Pooling.read(source.directory / pooling_file)
    width = source.config.integer("hidden_size") * len(pooled.modes)
    dense, extra, files = _dense(source, width)
    sentence = read_object(source.directory / SENTENCE_CONFIG)
    prompt = _prompt(
        source.directory / PROMPTS,
        normalised=kinds[-1] == "Normalize",
        lower_case=sentence.get("do_lower_case") is True,
        pooled=pooled.prompt,
    )
    optional = [name for name in (PROMPTS, SENTENCE_CONFIG) if (source.directory / name).exists()]
    return source.design(
        body,
        prompt,
        Head(pooled.modes, dense, cosine=True),
        shapes={},
        limits={f"max_seq_length in {SENTENCE_CONFIG}": sentence.get("max_seq_length")},
        extra=extra,
        read=(MODULES, pooling_file, *files, *optional),
    )


def _body(source: Source) -> Body:
    name = source.architecture
    if name.startswith("ModernBert"):
        return modernbert.body(source)
    if name.startswith("Qwen3"):
        return decoder.body(source.config, causal=True, qk_norm=True, prefixes=("", "model."))
    roberta = "Roberta" in name
    prefix = "electra." if name.startswith("Electra") else "roberta." if roberta else "bert."
    return bert.body(source, prefix, roberta=roberta)


@dataclass(frozen=True)
class _Pooling:
    modes: tuple[Pooling, ...]
    prompt: bool

    @classmethod
    def read(cls, path: Path) -> _Pooling:
        values = read_object(path)
        if not values:
            raise ModelError(
                Reason.CONFIG_MISSING,
                f"{path} is missing, though {MODULES} names it; copy the whole model directory, folders included",
            )
        modes: Any = values.get("pooling_mode")
        if modes is None:
            modes = [mode for key, mode in OLD_POOLING.items() if values.get(key)]
        modes = [modes] if isinstance(modes, str) else modes
        if not isinstance(modes, list) or not modes or not all(mode in POOLING for mode in modes):
            raise ModelError(
                Reason.VARIANT_UNSUPPORTED, f"{path} pools by {modes}; supported: one or more of {', '.join(POOLING)}"
            )
        return cls(tuple(POOLING[mode] for mode in modes), values.get("include_prompt") is not False)


def _dense(source: Source, width: int) -> tuple[tuple[Dense, ...], Found, tuple[str, ...]]:
    """The Dense modules: what they do, where their tensors are, and the files that were read."""
    layers: list[Dense] = []
    found: Found = {}
    read: list[str] = []
    for kind, folder in source.modules:
        if kind != "Dense":
            continue
        path = source.directory / folder / CONFIG
        config = Config(path, read_object(path))
        config.refuse(use_residual=False, module_input_name="sentence_embedding", in_features=width)
        config.refuse(module_output_name="sentence_embedding")
        out, bias = config.integer("out_features"), config.flag("bias", default=True)
        default = "torch.nn.modules.activation.Tanh"
        activation = config.choice("activation_function", default, ACTIVATIONS)
        file = f"{folder}/{WEIGHTS}"
        if not (source.directory / file).exists():
            raise ModelError(
                Reason.WEIGHTS_MISSING, f"no {file} in {source.directory}, though {MODULES} names a Dense module there"
            )
        present = read_header(source.directory, file)
        for end, shape in (("weight", (out, width)), ("bias", (out,)))[: 2 if bias else 1]:
            stored = f"linear.{end}"
            if stored not in present:
                raise ModelError(
                    Reason.TENSOR_MISSING, f"{source.directory / file} has no tensor {stored} of shape {list(shape)}"
                )
            check_tensor(present[stored], stored, shape, str(source.directory))
            found[f"{folder}.{end}"] = (file, stored)
        layers.append(Dense(folder, bias=bias, activation=activation))
        read += [f"{folder}/{CONFIG}", file]
        width = out
    return tuple(layers), found, tuple(read)


def _prompt(path: Path, *, normalised: bool, lower_case: bool, pooled: bool) -> Single:
    values = read_object(path)
    config = Config(path, values)
    config.refuse(model_type="SentenceTransformer")  # the same modules make cross-encoders, whose score is no cosine
    config.refuse(truncate_dim=None)
    similarity = values.get("similarity_fn_name")
    if similarity not in (None, "cosine") and not (similarity == "dot" and normalised):  # then dot is cosine
        raise ModelError(
            Reason.VARIANT_UNSUPPORTED,
            f"{path} compares by {similarity!r}; supported: cosine, or dot where {MODULES} ends in Normalize",
        )
    prompts = values.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise ModelError(Reason.CONFIG_INVALID, f"{path}: prompts must be an object of texts")
    default = values.get("default_prompt_name")
    fallback: str = prompts.get(default, "") if isinstance(default, str) else ""
    passage = next((prompts[name] for name in ("document", "passage", "corpus") if name in prompts), fallback)
    return Single(prompts.get("query", fallback), passage, lower_case=lower_case, pooled_prompt=pooled)


FAMILY: Final = Family(
    name="sentence-encoder",
    models="sentence-transformers directories (all-MiniLM, bge, e5, gte-modernbert, Qwen3-Embedding)",
    architectures=(
        "BertModel", "BertForMaskedLM", "RobertaModel", "RobertaForMaskedLM", "XLMRobertaModel",
        "XLMRobertaForMaskedLM", "ElectraModel", "ModernBertModel", "ModernBertForMaskedLM", "Qwen3Model",
    ),
    packed=True,
    template="each text alone, after the prompts of config_sentence_transformers.json; the query is encoded once",
    head="pooling (cls, max, mean, mean_sqrt_len_tokens, weightedmean, lasttoken, or several) → Dense → cosine",
    limit="max_seq_length, max_position_embeddings or model_max_length, for each text alone",
    read=read,
)  # fmt: skip
