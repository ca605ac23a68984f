"""`spec.model`: which weights to serve, from where, and how."""

from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import Field, StringConstraints

from reranker_operator.api.base import ApiType, Rule

PathInContainer = Annotated[str, StringConstraints(pattern=r"^/[^:]*[^/:]$", max_length=1024)]
PathInVolume = Annotated[str, StringConstraints(pattern=r"^[^/:][^:]*$", max_length=1024)]
ObjectName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", min_length=1, max_length=253)
]


class Precision(StrEnum):
    """Number format of weights and activations."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


def _is_plain(path: str | None) -> bool:
    return path is None or not {".", ".."} & set(path.split("/"))


def _plain(cel: str) -> Rule:
    return Rule(
        cel=cel + "self.path.split('/').exists(p, p in ['.', '..'])",
        message="path must not contain '.' or '..': name the directory itself",
        holds=lambda source: _is_plain(source.path),
    )


class PersistentVolumeClaimSource(ApiType):
    """A model directory on a claim of the same namespace, mounted read-only."""

    claim_name: ObjectName
    """Name of the PersistentVolumeClaim."""
    path: PathInVolume | None = None
    """Directory of the model inside the volume; the volume's root when absent."""

    rules = (_plain("!has(self.path) || !"),)


class HostPathSource(ApiType):
    """A model directory staged on the node; refused unless the operator runs with --allow-host-path."""

    path: PathInContainer
    """Absolute directory on the node."""

    rules = (_plain("!"),)


class InImageSource(ApiType):
    """A model directory packaged in the runtime image."""

    path: PathInContainer
    """Absolute directory in the image."""

    rules = (_plain("!"),)


class ModelSource(ApiType):
    """Where the model directory comes from: exactly one of the fields."""

    persistent_volume_claim: PersistentVolumeClaimSource | None = None
    """A claim of the same namespace."""
    host_path: HostPathSource | None = None
    """A directory of the node."""
    in_image: InImageSource | None = None
    """A directory of the runtime image."""

    rules = (
        Rule(
            cel="[has(self.persistentVolumeClaim), has(self.hostPath), has(self.inImage)].filter(x, x).size() == 1",
            message="name exactly one source: persistentVolumeClaim, hostPath or inImage",
            holds=lambda source: len(source.given) == 1,
        ),
    )

    @property
    def given(self) -> "list[PersistentVolumeClaimSource | HostPathSource | InImageSource]":
        """The sources that are named."""
        return [each for each in (self.persistent_volume_claim, self.host_path, self.in_image) if each is not None]

    @property
    def own_name(self) -> str:
        """What the model is called when nobody says otherwise: the name of its directory, or of its claim."""
        if self.persistent_volume_claim is not None:
            claim = self.persistent_volume_claim
            return PurePosixPath(claim.path).name if claim.path else claim.claim_name
        named = self.host_path or self.in_image
        if named is None:
            raise AssertionError("a source without a source passed its own rule")
        return PurePosixPath(named.path).name


class Model(ApiType):
    """The model to serve."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    """The name clients ask for, such as nvidia/llama-nemotron-rerank-1b-v2. Default: the source's own name."""
    source: ModelSource
    """Where the model directory comes from."""
    digest: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None
    """Refuse any other weights. `reranker-runtime verify DIR` and `status.model.digest` print it."""
    precision: Precision = Precision.AUTO
    """Number format; auto takes what the hardware is good at."""
    max_tokens: Annotated[int, Field(ge=8, le=1_048_576)] | None = None
    """Tokens of a query and passage pair, special tokens included. Default: the model's own limit."""

    @property
    def served_name(self) -> str:
        """The name clients ask for."""
        return self.name or self.source.own_name
