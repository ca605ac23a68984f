"""`desired(service, defaults)`: every object that should exist for one service, as one typed bundle."""

from dataclasses import dataclass
from typing import Any

from reranker_operator import __version__
from reranker_operator.api import RerankerService
from reranker_operator.api.names import repository_of
from reranker_operator.api.proxy import DefaultProxy
from reranker_operator.api.runtime import Runtime, downloads
from reranker_operator.api.spec import Image
from reranker_operator.desired.autoscaler import autoscaler
from reranker_operator.desired.claim import cache_claim, claim_name
from reranker_operator.desired.deployment import deployment, ranking_template
from reranker_operator.desired.disruptionbudget import disruption_budget
from reranker_operator.desired.given import Given, Template
from reranker_operator.desired.httproute import http_route
from reranker_operator.desired.ingress import ingress
from reranker_operator.desired.keys import generated_keys
from reranker_operator.desired.metadata import TEMPLATE_HASH
from reranker_operator.desired.modeljob import model_hash, model_job
from reranker_operator.desired.monitoring import metrics_name, metrics_service, service_monitor
from reranker_operator.desired.networkpolicy import network_policy
from reranker_operator.desired.service import service as build_service
from reranker_operator.desired.serviceaccount import service_account

RUNTIME_IMAGE = "ghcr.io/reranker-operator/reranker-runtime"


@dataclass(frozen=True)
class Defaults:
    """What the operator fills in where the spec is silent: set once, at its start."""

    image: str = f"{RUNTIME_IMAGE}:{__version__}"
    """Runtime image with its tag or digest, where the spec names no repository."""
    namespace: str = "reranker-system"
    """The operator's own, which NetworkPolicies let in."""
    proxy: DefaultProxy | None = None
    """`spec.proxy` of services that download."""

    def fill(self, service: RerankerService) -> RerankerService:
        """The service as if its spec had said what is filled in."""
        spec = service.spec
        if self.proxy is None or spec.proxy is not None or not downloads(spec):
            return service
        return service.model_copy(update={"spec": spec.model_copy(update={"proxy": self.proxy})})


@dataclass(frozen=True)
class Optional:
    """An object that a service may ask for, and its place where it does not."""

    kind: str
    name: str
    document: dict[str, Any] | None
    """None: must not exist."""
    field: str
    """What asks for it."""
    holds_data: bool = False
    """Made before the pods, which need it, and removed only if it goes with the service and no pod uses it."""


@dataclass(frozen=True)
class Desired:
    """What should exist. `None` means: must not exist."""

    service_account: dict[str, Any] | None
    service: dict[str, Any]
    model_job: dict[str, Any] | None
    """None where the image downloads and reads its model by itself, so that nothing can be verified before."""
    deployment: dict[str, Any]
    optional: "list[Optional]"
    """Objects that only some services ask for."""
    model_hash: str | None
    generated_keys: dict[str, Any] | None
    """The Secret that is made with a first key, without it, where the spec asks for one."""
    template: Template
    """The pod template of this spec; the Deployment's own, but where that falls back to an earlier one."""

    @property
    def job_name(self) -> str | None:
        """Name of the model Job, if there is to be one."""
        return str(self.model_job["metadata"]["name"]) if self.model_job is not None else None

    @property
    def template_hash(self) -> str:
        """The label that pods of this template carry."""
        return str(self.template["metadata"]["labels"][TEMPLATE_HASH])

    def objects(self) -> list[dict[str, Any]]:
        """Every object, in the order in which they are made."""
        before = [each.document for each in self.optional if each.holds_data]
        after = [each.document for each in self.optional if not each.holds_data]
        made = (self.service_account, self.service, *before, self.model_job, self.deployment, *after)
        return [each for each in made if each is not None]


_NOTHING = Given()


def desired(service: RerankerService, defaults: Defaults, given: Given = _NOTHING) -> Desired:
    """Every object for `service`."""
    recorded = given.recorded
    image = _image(service, defaults) if recorded is None else str(recorded["spec"]["containers"][0]["image"])
    verified = model_hash(service, image)
    template = ranking_template(service, image, given)
    return Desired(
        service_account=service_account(service),
        service=build_service(service),
        model_job=model_job(service, image, given.credentials),
        deployment=deployment(service, template, verified, given),
        optional=_optional(service, defaults),
        model_hash=verified,
        generated_keys=generated_keys(service),
        template=template,
    )


def _optional(service: RerankerService, defaults: Defaults) -> list[Optional]:
    name = service.name
    claim = "spec.nim.cache" if service.spec.runtime is Runtime.NIM else "spec.model.source.huggingFace.cache"
    return [
        Optional("PersistentVolumeClaim", claim_name(service), cache_claim(service), claim, holds_data=True),
        Optional("Ingress", name, ingress(service), "spec.ingress"),
        Optional("HTTPRoute", name, http_route(service), "spec.gateway"),
        Optional("NetworkPolicy", name, network_policy(service, defaults.namespace), "spec.networkPolicy"),
        Optional("PodDisruptionBudget", name, disruption_budget(service), "spec.disruptionBudget"),
        Optional("HorizontalPodAutoscaler", name, autoscaler(service), "spec.autoscaling"),
        Optional("Service", metrics_name(service), metrics_service(service), "spec.monitoring"),
        Optional("ServiceMonitor", name, service_monitor(service), "spec.monitoring"),
    ]


def _image(service: RerankerService, defaults: Defaults) -> str:
    asked = service.spec.image
    if asked == Image(pull_policy=asked.pull_policy, pull_secrets=asked.pull_secrets):
        return defaults.image
    # Our own tag says nothing about somebody else's repository, nor about a pinned digest.
    reference = asked.repository or repository_of(defaults.image)
    return reference + (f":{asked.tag}" if asked.tag else "") + (f"@{asked.digest}" if asked.digest else "")
