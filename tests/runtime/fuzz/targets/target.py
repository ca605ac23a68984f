"""What a fuzz target is: a rule that no input may break, and a way to make inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Target:
    """One reader of what others wrote."""

    check: Callable[[bytes], None]
    """Give an input to the reader; any exception is a finding."""
    mutate: Callable[[bytes, Random], bytes | None]
    """An input made of another; None leaves it to the fuzzer, which knows bytes only."""
    seeds: Sequence[bytes]
    """Inputs to begin with."""
