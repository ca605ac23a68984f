"""NVIDIA's vision-language reranker: images cut into tiles, seen by SigLIP, laid as tokens before the text prompt.

How an image is cut and what is written around it is the processor's business in the published code, so what its file
says wins over config.json. Whatever would change a score without a word is refused here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from reranker_runtime.artifacts import files
from reranker_runtime.errors import ModelError, Reason
from reranker_runtime.models import decoder, llama_bidirec
from reranker_runtime.models.blueprint import SCORE, Design, Family
from reranker_runtime.models.config import Config
from reranker_runtime.models.geometry import ACTIVATIONS, VisionGeometry
from reranker_runtime.models.source import Source, check_tensor

PROCESSORS: Final = ("processor_config.json", "preprocessor_config.json")
"""The first that states a value wins."""
OPENING, TOKEN, CLOSING = "<img>", "<IMG_CONTEXT>", "</img>"
CONTEXT_ID: Final = 128258
"""`img_context_token_id` where config.json does not say."""
MOST_TOKENS: Final = 10240
"""`p_max_length` where config.json does not say."""
MOST_TILES: Final = 64
"""Far more than the dozen that any model of the kind was trained with."""
VISION: Final = "vision."
"""How our names of SigLIP's tensors begin; what checkpoints write instead, as transformers 4 and as 5 load it."""
PREFIXES: Final = ("model.vision_model.vision_model.", "model.vision_model.")
PROJECTOR: Final = "mlp1."
PROJECTOR_PREFIX: Final = "model."
ANCHOR: Final = "embeddings.patch_embedding.weight"


@dataclass(frozen=True)
class Settings:
    """config.json, and the processor's files that go before it."""

    config: Config
    processors: tuple[Config, ...]

    @classmethod
    def of(cls, source: Source) -> Settings:
        paths = [source.directory / name for name in PROCESSORS]
        return cls(source.config, tuple(Config(path, files.read_object(path)) for path in paths if path.exists()))

    def stating(self, key: str) -> Config:
        """The file that says what `key` is; config.json where none does."""
        return next((part for part in self.processors if part.values.get(key) is not None), self.config)


def read(source: Source) -> Design:
    source.refuse_modules()
    source.refuse_labels(f"{SCORE}.weight")
    settings, config = Settings.of(source), source.config
    # Layers before the last would be read without the norm that follows it.
    config.refuse(select_layer=-1)
    for part in settings.processors:
        part.refuse(template="bidirectional-llama-retriever")  # which adds nothing to the text
    prompt = settings.stating("prompt_template")
    if prompt.values.get("prompt_template") != "v1":  # none stands for another prompt, not for this one
        raise prompt.unsupported("prompt_template", "v1")
    llm, hidden = config.part("llm_config"), config.part("llm_config").integer("hidden_size")
    vision = _vision(source, settings)
    head, shapes = llama_bidirec.head(config, hidden, default="last")
    design = source.design(
        decoder.body(llm, causal=False, prefixes=("model.language_model.",)),
        llama_bidirec.PROMPT,
        head,
        shapes=shapes,
        limits={f"p_max_length in {files.CONFIG}": config.integer("p_max_length", MOST_TOKENS)},
        extra=_tensors(source, vision, hidden),
        read=tuple(part.path.name for part in settings.processors),
    )
    return replace(design, vision=vision)


def _vision(source: Source, settings: Settings) -> VisionGeometry:
    """Sizes and tiling; what a file leaves out is what the published classes take for it."""
    config, part = source.config, source.config.part("vision_config")
    part.refuse(model_type="siglip_vision_model", num_channels=3, grid_size=None)
    hidden, heads = part.integer("hidden_size", 768), part.integer("num_attention_heads", 12)
    if hidden % heads:
        raise part.wrong("num_attention_heads", f"a divisor of hidden_size {hidden}")
    image, patch = part.integer("image_size", 224), part.integer("patch_size", 16)
    # SigLIP's positions are those of its own image size.
    for stated in (config, settings.stating("force_image_size")):
        stated.refuse(force_image_size=image)
    shuffle = _shuffle(config)
    if image % patch or image // patch % shuffle:
        raise part.wrong("image_size", f"a multiple of {patch * shuffle}, the patches of one token side by side")
    most = settings.stating("max_input_tiles")
    tiles = most.integer("max_input_tiles", 2)
    if tiles > MOST_TILES:
        raise most.unsupported("max_input_tiles", f"1 to {MOST_TILES}")
    opening, token, closing = (source.vocabulary.id(name) for name in (OPENING, TOKEN, CLOSING))
    if config.integer("img_context_token_id", CONTEXT_ID, least=0) != token:
        raise ModelError(
            Reason.TOKENIZER_INVALID,
            f"{config.path}: img_context_token_id is {config.values.get('img_context_token_id', CONTEXT_ID)}, but "
            f"{source.vocabulary.path} gives {TOKEN} the id {token}; tokenizer and model are from different models",
        )
    vision = VisionGeometry(
        hidden=hidden,
        layers=part.integer("num_hidden_layers", 12),
        heads=heads,
        feed_forward=part.integer("intermediate_size", 3072),
        epsilon=part.number("layer_norm_eps", 1e-6),
        activation=part.choice("hidden_act", "gelu_pytorch_tanh", ACTIVATIONS),
        image=image,
        patch=patch,
        shuffle=shuffle,
        opening=opening,
        token=token,
        closing=closing,
        most_tiles=tiles,
        thumbnail=settings.stating("use_thumbnail").flag("use_thumbnail", default=False),
        dynamic=settings.stating("dynamic_image_size").flag("dynamic_image_size", default=False),
    )
    settings.stating("num_image_token").refuse(num_image_token=vision.tokens)
    return vision


def _shuffle(config: Config) -> int:
    ratio = config.number("downsample_ratio", 0.5)
    shuffle = round(1 / ratio)
    if shuffle < 1 or 1 / shuffle != ratio:
        raise config.unsupported("downsample_ratio", "1 divided by a whole number")
    return shuffle


def _tensors(source: Source, vision: VisionGeometry, hidden: int) -> Mapping[str, tuple[str, str]]:
    """Where the tensors are that the text model has not; a missing one or one of another shape is refused by name."""
    prefix = next((p for p in PREFIXES if p + ANCHOR in source.present), PREFIXES[0])
    found: dict[str, tuple[str, str]] = {}
    # No more than are there can be found, and a slip of the pen in config.json must not list a billion.
    for name, shape in islice(_shapes(vision, hidden), len(source.present) + 1):
        own = name.removeprefix(VISION)
        stored = PROJECTOR_PREFIX + name if own == name else prefix + own
        if stored not in source.present:
            raise ModelError(
                Reason.TENSOR_MISSING,
                f"{source.directory} has no tensor {stored} of shape {list(shape)}, which sees images; "
                "copy the whole model again, its vision tower included",
            )
        check_tensor(source.present[stored], stored, shape, str(source.directory))
        found[name] = (source.present[stored].file, stored)
    return found


def _shapes(vision: VisionGeometry, hidden: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    width, wide = vision.hidden, vision.feed_forward
    yield f"{VISION}{ANCHOR}", (width, 3, vision.patch, vision.patch)
    yield f"{VISION}embeddings.patch_embedding.bias", (width,)
    yield f"{VISION}embeddings.position_embedding.weight", (vision.patches, width)
    yield from _layer(f"{VISION}post_layernorm", width)
    seen = width * vision.shuffle**2
    yield from _layer(f"{PROJECTOR}0", seen)
    yield from _layer(f"{PROJECTOR}1", hidden, seen)
    yield from _layer(f"{PROJECTOR}3", hidden, hidden)
    for layer in range(vision.layers):
        at = f"{VISION}encoder.layers.{layer}"
        for norm in ("layer_norm1", "layer_norm2"):
            yield from _layer(f"{at}.{norm}", width)
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from _layer(f"{at}.self_attn.{name}", width, width)
        yield from _layer(f"{at}.mlp.fc1", wide, width)
        yield from _layer(f"{at}.mlp.fc2", width, wide)


def _layer(name: str, out: int, *into: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (out, *into)
    yield f"{name}.bias", (out,)


FAMILY: Final = Family(
    name="llama-nemotron-rerank-vl",
    models="llama-nemotron-rerank-vl-1b-v2",
    architectures=("LlamaNemotronVLForSequenceClassification",),
    packed=True,
    template="BOS, for an image `<img>`, `<IMG_CONTEXT>` for each of its tokens, `</img>` and a blank, then "
    "`question:{query} \\n \\n passage:{passage}`",
    head="`pooling` (avg, cls or last) → score, over `temperature`",
    limit=f"max_position_embeddings, at most p_max_length ({MOST_TOKENS})",
    read=read,
)
