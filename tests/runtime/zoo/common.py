"""What all families share: the protocol tests rely on, random weights, files, loading.

Nothing here knows the runtime. A reference is plain `transformers` on the same files, one pair at a time, never
padded, so that a mistake of the runtime has no way in.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # importing these warns of things that are not ours
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()

from zoo.tokenizers import Reader

EAGER = {"attn_implementation": "eager"}


class Family(Protocol):
    """One family: a tiny model as its publisher would ship it, and what it must answer."""

    name: str
    """Short; a pytest id."""
    instructed: bool
    """Whether `instruction` means something."""
    causal: bool
    """Whether a token sees only what stands before it."""

    def make(self, directory: Path) -> None:
        """Write the model: configuration, tokenizer, weights; the same bytes every time."""

    def tokens(
        self, directory: Path, query: str, passage: str, limit: int, instruction: str | None = None
    ) -> list[int]:
        """The ids the model must see for this pair (sentence encoders: for the passage alone), at most `limit` of them.

        The limit must hold the template itself. An instruction of None stands for the family's default.
        """

    def scores(
        self,
        directory: Path,
        query: str,
        passages: Sequence[str],
        *,
        limit: int,
        instruction: str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> list[float]:
        """Raw logits (sentence encoders: cosines), in the order of the passages."""

    def hidden(self, directory: Path, ids: Sequence[int]) -> torch.Tensor:
        """Last hidden states [tokens, hidden] in float32."""


@lru_cache(maxsize=16)
def _reader(directory: Path, stamp: int) -> Reader:
    return Reader(directory)


def reader(directory: Path) -> Reader:
    return _reader(directory, (directory / "tokenizer.json").stat().st_mtime_ns)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


def randomise(model: Any, *, gain: float = 1.5, seed: int = 7) -> Any:
    """Random everywhere, biases and norms off their 0 and 1 (where a mistake would not show), nothing saturated."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    for parameter in model.parameters():  # tied weights come once
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() < 2:
            parameter.data.add_(0.2 * noise)
        elif id(parameter) in embeddings:
            parameter.data.copy_(0.5 * noise)
        else:
            parameter.data.copy_(gain * noise / parameter[0].numel() ** 0.5)
    return model.eval()


@contextmanager
def seeded(seed: int = 7) -> Iterator[None]:
    """Libraries draw first weights from the global generator; what it held comes back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def build(architecture: str, config: Any, *, seed: int = 7, gain: float = 1.5) -> Any:
    with seeded(seed):
        return randomise(getattr(transformers, architecture)(config), seed=seed, gain=gain)


def bidirectional(tokens: int) -> torch.Tensor:
    """A mask of four dimensions by which every token sees every token; `transformers` takes it as it is."""
    return torch.zeros(1, 1, tokens, tokens)


@contextmanager
def quiet() -> Iterator[None]:
    """Saving and loading warn of deprecations between libraries, which are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Base:
    """A family whose pair is one sequence and whose answer is one logit."""

    name: str
    instructed = False
    causal = False

    def tokens(
        self, directory: Path, query: str, passage: str, limit: int, instruction: str | None = None
    ) -> list[int]:
        raise NotImplementedError

    def logit(self, model: Any, ids: list[int], dtype: torch.dtype) -> float:
        """The answer for one sequence; the model's body is in `dtype`, its head in float32."""
        raise NotImplementedError

    def body(self, model: Any, ids: list[int]) -> torch.Tensor:
        """Last hidden states [tokens, hidden] after the final norm."""
        raise NotImplementedError

    def open(self, directory: Path) -> Any:
        """The model in float32."""
        raise NotImplementedError

    def scores(
        self,
        directory: Path,
        query: str,
        passages: Sequence[str],
        *,
        limit: int,
        instruction: str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> list[float]:
        model = self.loaded(directory, dtype)
        with torch.inference_mode():
            return [self.logit(model, self.tokens(directory, query, p, limit, instruction), dtype) for p in passages]

    def hidden(self, directory: Path, ids: Sequence[int]) -> torch.Tensor:
        with torch.inference_mode():
            return self.body(self.loaded(directory, torch.float32), list(ids))

    def loaded(self, directory: Path, dtype: torch.dtype) -> Any:
        return _loaded(self, directory, (directory / "config.json").stat().st_mtime_ns, dtype)


@lru_cache(maxsize=4)
def _loaded(family: Base, directory: Path, stamp: int, dtype: torch.dtype) -> Any:
    with quiet():
        return in_dtype(family.open(directory).eval().float(), dtype)


def in_dtype(model: Any, dtype: torch.dtype) -> Any:
    """The body in `dtype`; heads (`score`, `lm_head`) stay as they are, since heads are scored in float32.

    Only parameters are cast: a rotary embedding's frequencies are a buffer and stay exact, as when libraries load.
    """
    if dtype == torch.float32:
        return model
    if hasattr(model, "lm_head"):  # it may be tied to the embeddings
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    for name, child in model.named_children():
        if name not in {"score", "lm_head"}:
            for parameter in child.parameters():
                parameter.data = parameter.data.to(dtype)
    return model
