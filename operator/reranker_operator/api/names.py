"""Words that several types share: names of objects, keys inside them, paths, images and when they are pulled."""

from enum import StrEnum
from typing import Annotated

from pydantic import StringConstraints

PathInContainer = Annotated[str, StringConstraints(pattern=r"^/[^:]*[^/:]$", max_length=1024)]
PathInVolume = Annotated[str, StringConstraints(pattern=r"^[^/:][^:]*$", max_length=1024)]
ObjectName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", min_length=1, max_length=253)
]
DataKey = Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)]
"""A key of a Secret or ConfigMap."""
Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+[^\s]*$", max_length=1024)]


class PullPolicy(StrEnum):
    """When the kubelet pulls an image."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


def repository_of(image: str) -> str:
    """`image` without digest and tag (a colon before the last slash belongs to the registry's port)."""
    repository = image.partition("@")[0]
    head, slash, name = repository.rpartition("/")
    return head + slash + name.partition(":")[0]
