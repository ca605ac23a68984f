"""NVIDIA's vision-language reranker: SigLIP tiles, projected into the sequence of a bidirectional Llama."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.torch import load_file, save_file

from zoo import tokenizers
from zoo.bidirectional import LLAMA, SIZES, pool, prompt
from zoo.common import EAGER, Base, bidirectional, quiet, randomise, read, reader, seeded, torch, transformers, write

BEGIN, OPEN, CONTEXT, CLOSE = "<|begin_of_text|>", "<img>", "<IMG_CONTEXT>", "</img>"
VISION = {
    "hidden_size": 96,
    "intermediate_size": 136,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_channels": 3,
    "image_size": 32,
    "patch_size": 4,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-06,
    "attention_dropout": 0.0,
}
CONFIG = {
    "architectures": ["LlamaNemotronVLForSequenceClassification"],
    "model_type": "llama_nemotron_vl_rerank",
    "select_layer": -1,
    "downsample_ratio": 0.5,
    "force_image_size": 32,
    "dynamic_image_size": True,
    "use_thumbnail": True,
    "pooling": "avg",
    "temperature": 2.0,
    "prompt_template": "v1",
    "max_input_tiles": 4,
    "q_max_length": 512,
    "p_max_length": 10240,
    "num_labels": 1,
    "torch_dtype": "float32",
}
NESTED, FLAT = "model.vision_model.vision_model.", "model.vision_model."

Passage = tuple[str | None, Image.Image | None]


def tiles(image: Image.Image, max_tiles: int, size: int, thumbnail: bool) -> list[Image.Image]:
    """Square pieces row by row, and the whole image last where there are several; modes stay as they are."""
    width, height = image.size
    grids = [(c, r) for c in range(1, max_tiles + 1) for r in range(1, max_tiles + 1) if c * r <= max_tiles]
    best, chosen = -1.0, (1, 1)
    for columns, rows in sorted(grids, key=lambda grid: grid[0] * grid[1]):
        target, ratio = columns / rows, width / height
        fit = min(columns * rows * size * size / (width * height), 0.6) * min(target / ratio, ratio / target)
        if fit > best:
            best, chosen = fit, (columns, rows)
    columns, rows = chosen
    whole = image.resize((size * columns, size * rows))
    corners = [(size * c, size * r) for r in range(rows) for c in range(columns)]
    pieces = [whole.crop((x, y, x + size, y + size)) for x, y in corners]
    return [*pieces, image.resize((size, size))] if thumbnail and len(pieces) > 1 else pieces


def pixels(pieces: Sequence[Image.Image]) -> torch.Tensor:
    """[tiles, 3, size, size] between -1 and 1, of bfloat16's precision."""
    arrays = [np.asarray(piece.convert("RGB"), dtype=np.float32) / 255 for piece in pieces]
    stacked = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
    return ((stacked - 0.5) / 0.5).to(torch.bfloat16)


def shuffle(states: torch.Tensor) -> torch.Tensor:
    """Patches [tiles, n * n, width] of a square, row by row, to [tiles, n * n / 4, 4 * width]: blocks of two by two."""
    count, patches, width = states.shape
    side = round(patches**0.5)
    grid = states.view(count, side, side, width)
    quarters = [grid[:, 0::2, 0::2], grid[:, 0::2, 1::2], grid[:, 1::2, 0::2], grid[:, 1::2, 1::2]]
    return torch.cat(quarters, dim=-1).reshape(count, patches // 4, 4 * width)


class Parts(torch.nn.Module):
    """The published modules under their published names (vision without its second `vision_model.`)."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        config = deepcopy(config)  # the configuration classes write into what they are given
        language = {key: value for key, value in config["llm_config"].items() if key != "model_type"}
        vision = {key: value for key, value in config["vision_config"].items() if key != "model_type"}
        hidden, seen = language["hidden_size"], 4 * vision["hidden_size"]
        self.config = config
        self.model = torch.nn.Module()
        self.model.language_model = transformers.LlamaModel._from_config(transformers.LlamaConfig(**language), **EAGER)
        siglip = transformers.SiglipVisionConfig(**vision)
        self.model.vision_model = transformers.SiglipVisionModel._from_config(siglip, **EAGER)
        projector = [torch.nn.LayerNorm(seen), torch.nn.Linear(seen, hidden), torch.nn.GELU()]
        self.model.mlp1 = torch.nn.Sequential(*projector, torch.nn.Linear(hidden, hidden))
        self.score = torch.nn.Linear(hidden, 1, bias=False)


class NemotronVL(Base):
    name = "llama-nemotron-vl"

    def make(self, directory: Path, *, nested_vision_names: bool = True, processor_tiles: int | None = 4) -> None:
        """Write the model; `processor_tiles` None leaves processor_config.json out."""
        tokenizer = tokenizers.llama3(images=True)
        ids = {"bos_token_id": tokenizer.token_to_id(BEGIN), "vocab_size": tokenizer.get_vocab_size()}
        llm = {"model_type": "llama_bidirec"} | SIZES | LLAMA | ids
        vision = {"model_type": "siglip_vision_model"} | VISION
        context = {"img_context_token_id": tokenizer.token_to_id(CONTEXT)}
        config = CONFIG | context | {"llm_config": llm, "vision_config": vision}
        write(directory / "config.json", config)
        with quiet(), seeded():
            made = randomise(Parts(config))
        state = {name: tensor.contiguous() for name, tensor in made.state_dict().items()}
        if nested_vision_names:
            state = {name.replace(FLAT, NESTED, 1): tensor for name, tensor in state.items()}
        save_file(state, directory / "model.safetensors", {"format": "pt"})
        tokenizers.write(tokenizer, directory, {"bos_token": BEGIN, "model_max_length": 2048, "padding_side": "left"})
        processor = {"processor_class": "LlamaNemotronVLRerankProcessor", "use_thumbnail": True, "image_size": 32}
        if processor_tiles is not None:
            write(directory / "processor_config.json", processor | {"max_input_tiles": processor_tiles})

    def tokens(
        self, directory: Path, query: str, passage: str, limit: int, instruction: str | None = None
    ) -> list[int]:
        return self.image_tokens(directory, query, passage, 0, limit)

    def image_tokens(self, directory: Path, query: str, passage: str | None, count: int, limit: int) -> list[int]:
        """The ids for a passage whose image has `count` tiles; 0 for none."""
        text = reader(directory)
        before = " " if count else ""
        context = [text.id(CONTEXT)] * (count * self.per_tile(directory))
        spent = [text.id(OPEN), *context, text.id(CLOSE)] if count else []
        ids = [text.id(BEGIN), *spent, *text.user(before + prompt(query, passage or ""))][:limit]
        assert ids[: 1 + len(spent)] == [text.id(BEGIN), *spent], "the limit is too small for the image"
        return ids

    def per_tile(self, directory: Path) -> int:
        config = read(directory / "config.json")
        side = config["force_image_size"] / config["vision_config"]["patch_size"] * config["downsample_ratio"]
        return round(side) ** 2

    def tiles(self, directory: Path, image: Image.Image) -> list[Image.Image]:
        """The tiles this model sees of an image."""
        config = read(directory / "config.json")
        most, processor = config["max_input_tiles"], directory / "processor_config.json"
        if processor.exists():
            most = read(processor).get("max_input_tiles", most)
        return tiles(image, most, config["force_image_size"], config["use_thumbnail"])

    def image_scores(
        self,
        directory: Path,
        query: str,
        passages: Sequence[Passage],
        limit: int,
        dtype: torch.dtype = torch.float32,
    ) -> list[float]:
        """Logits of passages of text, image, or both."""
        model = self.loaded(directory, dtype)
        found = []
        with torch.inference_mode():
            for text, image in passages:
                pieces = [] if image is None else self.tiles(directory, image)
                ids = self.image_tokens(directory, query, text, len(pieces), limit)
                found.append(self._score(model, self._states(model, ids, pieces)))
        return found

    def logit(self, model: Any, ids: list[int], dtype: torch.dtype) -> float:
        return self._score(model, self._states(model, ids, []))

    def body(self, model: Any, ids: list[int]) -> torch.Tensor:
        return self._states(model, ids, [])

    def seen(self, model: Any, pieces: Sequence[Image.Image]) -> torch.Tensor:
        """What the language model gets of tiles: [tokens, hidden]."""
        images = pixels(pieces).to(model.model.mlp1[1].weight.dtype)
        states = model.model.vision_model(pixel_values=images).last_hidden_state
        return model.model.mlp1(shuffle(states)).flatten(0, 1)

    def open(self, directory: Path) -> Any:
        model = Parts(read(directory / "config.json"))
        state = load_file(directory / "model.safetensors")
        model.load_state_dict({name.replace(NESTED, FLAT, 1): tensor for name, tensor in state.items()})
        return model

    def _states(self, model: Any, ids: list[int], pieces: Sequence[Image.Image]) -> torch.Tensor:
        language, given = model.model.language_model, torch.tensor([ids])
        embedded = language.embed_tokens(given)
        if pieces:
            embedded[given == model.config["img_context_token_id"]] = self.seen(model, pieces)
        mask = bidirectional(len(ids)).to(embedded.dtype)
        return language(inputs_embeds=embedded, attention_mask=mask, use_cache=False).last_hidden_state[0]

    def _score(self, model: Any, states: torch.Tensor) -> float:
        pooled = pool(states, model.config["pooling"])
        return (model.score(pooled) / model.config["temperature"]).item()
