"""`desired(service, defaults)`: every object that should exist for one service, as one typed bundle."""

from dataclasses import dataclass
from typing import Any

from reranker_operator import __version__
from reranker_operator.api import RerankerService
from reranker_operator.api.spec import Image
from reranker_operator.desired.deployment import deployment
from reranker_operator.desired.metadata import TEMPLATE_HASH
from reranker_operator.desired.modeljob import model_hash, model_job
from reranker_operator.desired.service import service as build_service
from reranker_operator.desired.serviceaccount import service_account

RUNTIME_IMAGE = "ghcr.io/reranker-operator/reranker-runtime"


@dataclass(frozen=True)
class Defaults:
    """What the operator fills in where the spec is silent: set once, at its start."""

    image: str = f"{RUNTIME_IMAGE}:{__version__}"
    """Runtime image with its tag or digest, where the spec names no repository."""


@dataclass(frozen=True)
class Desired:
    """What should exist. `None` means: must not exist."""

    service_account: dict[str, Any] | None
    service: dict[str, Any]
    model_job: dict[str, Any]
    deployment: dict[str, Any]
    model_hash: str

    @property
    def template_hash(self) -> str:
        """The label that pods of this template carry."""
        return str(self.deployment["spec"]["template"]["metadata"]["labels"][TEMPLATE_HASH])

    def objects(self) -> list[dict[str, Any]]:
        """Every object, in the order in which they are made."""
        made = (self.service_account, self.service, self.model_job, self.deployment)
        return [each for each in made if each is not None]


def desired(service: RerankerService, defaults: Defaults) -> Desired:
    """Every object for `service`."""
    image = _image(service, defaults)
    verified = model_hash(service, image)
    return Desired(
        service_account=service_account(service),
        service=build_service(service),
        model_job=model_job(service, image),
        deployment=deployment(service, image, verified),
        model_hash=verified,
    )


def _image(service: RerankerService, defaults: Defaults) -> str:
    asked = service.spec.image
    if asked == Image(pull_policy=asked.pull_policy, pull_secrets=asked.pull_secrets):
        return defaults.image
    # Our own tag says nothing about somebody else's repository, nor about a pinned digest.
    reference = asked.repository or repository_of(defaults.image)
    return reference + (f":{asked.tag}" if asked.tag else "") + (f"@{asked.digest}" if asked.digest else "")


def repository_of(image: str) -> str:
    """`image` without digest and tag (a colon before the last slash belongs to the registry's port)."""
    repository = image.partition("@")[0]
    head, slash, name = repository.rpartition("/")
    return head + slash + name.partition(":")[0]
