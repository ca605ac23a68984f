"""Where downloads are kept: a claim that exists, or one that is made for the service."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from reranker_operator.api.base import ApiType, Rule
from reranker_operator.api.names import ObjectName

Size = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]*([.][0-9]+)?(Mi|Gi|Ti|M|G|T)$", max_length=16)]


class AccessMode(StrEnum):
    """Who may use a claim at the same time: the pods of one node, or of many."""

    READ_WRITE_ONCE = "ReadWriteOnce"
    READ_WRITE_MANY = "ReadWriteMany"


class Reclaim(StrEnum):
    """What becomes of the claim when the service is deleted, or no longer asks for it."""

    RETAIN = "Retain"
    DELETE = "Delete"


class Cache(ApiType):
    """A claim of the same namespace that keeps what is downloaded: one that exists, or one that is made."""

    existing_claim: ObjectName | None = None
    """Name of a PersistentVolumeClaim that exists. Several services may share it."""
    size: Size | None = None
    """Make a claim NAME-model-cache of this size. It may grow later where its StorageClass can expand volumes."""
    storage_class_name: ObjectName | None = None
    """StorageClass of the claim that is made; without it, the cluster's default."""
    access_modes: Annotated[list[AccessMode], Field(min_length=1, max_length=2)] = [AccessMode.READ_WRITE_ONCE]
    """Access modes of the claim that is made. Pods on several nodes need ReadWriteMany."""
    reclaim: Reclaim = Reclaim.RETAIN
    """Whether the claim that is made outlives the service (Retain) or goes with it (Delete)."""

    rules = (
        Rule(
            cel="has(self.existingClaim) != has(self.size)",
            message="name a claim in existingClaim, or give the size of one to be made, and not both",
            holds=lambda cache: (cache.existing_claim is None) != (cache.size is None),
        ),
        Rule(
            cel="!has(self.existingClaim) || !has(self.storageClassName) && self.accessModes == ['ReadWriteOnce'] "
            "&& self.reclaim == 'Retain'",
            message="storageClassName, accessModes and reclaim are for a claim that is made: leave them out beside "
            "existingClaim",
            holds=lambda cache: (
                cache.existing_claim is None
                or (cache.storage_class_name, cache.access_modes, cache.reclaim)
                == (None, [AccessMode.READ_WRITE_ONCE], Reclaim.RETAIN)
            ),
        ),
    )
