"""What a service's objects depend on beside its spec: what the cluster has, and what earlier rounds decided."""

from dataclasses import dataclass
from typing import Any

Template = dict[str, Any]


@dataclass(frozen=True)
class Given:
    """All of it is absent for `render`, which knows no cluster."""

    inputs: str | None = None
    """Stands for what the ranking container reads at its start; None where that is nothing."""
    credentials: str | None = None
    """Stands for what the model is downloaded with: after a failure, other credentials are worth another try."""
    recorded: Template | None = None
    """The pod template that was made of the same spec before. It stays, whatever this operator would make of the spec
    today: a restart or an upgrade of the operator rolls nothing."""
    fallback: Template | None = None
    """The last template that was Ready, where the one of this spec failed and is to be taken back."""
    make_room: bool = False
    """Whether an old pod goes before a new one comes, since that one was found to fit no node."""
    scaled: bool = False
    """Whether an autoscaler owns the number of pods, so that none is asked for."""
