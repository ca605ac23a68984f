"""`spec.model.source`: where the model directory comes from."""

from pathlib import PurePosixPath
from typing import Annotated

from pydantic import StringConstraints

from reranker_operator.api.base import ApiType, Rule
from reranker_operator.api.cache import Cache
from reranker_operator.api.names import (
    DataKey,
    ObjectName,
    PathInContainer,
    PathInVolume,
    PullPolicy,
    repository_of,
)

_REPOSITORY = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}$"
_COMMIT_LENGTH = 40


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

    @property
    def own_name(self) -> str:
        """The name of the directory, or of the claim."""
        return PurePosixPath(self.path).name if self.path else self.claim_name


class TokenSecret(ApiType):
    """A key of a Secret of the same namespace, with a token of the hub."""

    name: ObjectName
    """Name of the Secret."""
    key: DataKey = "token"
    """Its key."""


def _is_commit(revision: str) -> bool:
    return len(revision) == _COMMIT_LENGTH and not revision.strip("0123456789abcdef")


class HuggingFaceSource(ApiType):
    """A repository of the Hugging Face hub, or of a mirror of it, downloaded once into a cache by the model Job."""

    repository: Annotated[str, StringConstraints(pattern=_REPOSITORY, max_length=193)]
    """Repository, as OWNER/NAME."""
    revision: Annotated[str, StringConstraints(max_length=64)]
    """Commit, as 40 hexadecimal digits."""
    token_secret: TokenSecret | None = None
    """Token for private and gated repositories. Only the download sees it, never the pods that rank."""
    endpoint: (
        Annotated[str, StringConstraints(pattern=r"^https?://[^\s/?#@]+(/[^\s?#@]*)?$", max_length=1024)] | None
    ) = None
    """Root URL of a mirror; without it, the public hub."""
    cache: Cache
    """Where the download is kept."""

    rules = (
        Rule(
            cel="self.revision.matches('^[0-9a-f]{40}$')",
            message="revision must pin a commit: the 40 hexadecimal digits that the repository's history shows, "
            "since a branch or a tag may come to mean other weights",
            holds=lambda source: _is_commit(source.revision),
        ),
        Rule(
            cel="!self.repository.contains('--') && !self.repository.contains('..')",
            message="repository must not contain '--' or '..': no repository of the hub does",
            holds=lambda source: "--" not in source.repository and ".." not in source.repository,
        ),
    )

    @property
    def directory(self) -> str:
        """Directory of the model inside the cache: the pod contract's, which `reranker-runtime fetch` fills."""
        return f"{self.repository.replace('/', '--')}/{self.revision}"

    @property
    def own_name(self) -> str:
        """The repository."""
        return self.repository


class ImageSource(ApiType):
    """A model directory packaged as an OCI image, mounted read-only as an image volume (Kubernetes 1.35)."""

    reference: Annotated[str, StringConstraints(pattern=r"^[^\s@]+(@sha256:[0-9a-f]{64})?$", max_length=1024)]
    """Image with its tag or digest. By digest, pods start sooner: with a tag each must check all of its weights."""
    pull_policy: PullPolicy = PullPolicy.IF_NOT_PRESENT
    """When the kubelet pulls the image. The Secrets of spec.image.pullSecrets serve for it too."""
    path: PathInVolume | None = None
    """Directory of the model inside the image; the image's root when absent."""

    rules = (_plain("!has(self.path) || !"),)

    @property
    def own_name(self) -> str:
        """The last part of the repository, without tag or digest."""
        return PurePosixPath(repository_of(self.reference)).name


class HostPathSource(ApiType):
    """A model directory staged on the node; refused unless the operator runs with --allow-host-path."""

    path: PathInContainer
    """Absolute directory on the node."""

    rules = (_plain("!"),)

    @property
    def own_name(self) -> str:
        """The name of the directory."""
        return PurePosixPath(self.path).name


class InImageSource(ApiType):
    """A model directory packaged in the runtime image."""

    path: PathInContainer
    """Absolute directory in the image."""

    rules = (_plain("!"),)

    @property
    def own_name(self) -> str:
        """The name of the directory."""
        return PurePosixPath(self.path).name


Source = PersistentVolumeClaimSource | HuggingFaceSource | ImageSource | HostPathSource | InImageSource


class ModelSource(ApiType):
    """Where the model directory comes from: exactly one of the fields."""

    persistent_volume_claim: PersistentVolumeClaimSource | None = None
    """A claim of the same namespace."""
    hugging_face: HuggingFaceSource | None = None
    """A repository of the Hugging Face hub."""
    image: ImageSource | None = None
    """An OCI image of the model."""
    host_path: HostPathSource | None = None
    """A directory of the node."""
    in_image: InImageSource | None = None
    """A directory of the runtime image."""

    rules = (
        Rule(
            cel="[has(self.persistentVolumeClaim), has(self.huggingFace), has(self.image), has(self.hostPath), "
            "has(self.inImage)].filter(x, x).size() == 1",
            message="name exactly one source: persistentVolumeClaim, huggingFace, image, hostPath or inImage",
            holds=lambda source: len(source.given) == 1,
        ),
    )

    @property
    def given(self) -> list[Source]:
        """The sources that are named."""
        each = (self.persistent_volume_claim, self.hugging_face, self.image, self.host_path, self.in_image)
        return [source for source in each if source is not None]

    @property
    def chosen(self) -> Source:
        """The one that is named."""
        return self.given[0]
