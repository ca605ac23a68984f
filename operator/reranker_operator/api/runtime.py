"""`spec.runtime`: the project's own server or NVIDIA's image, and what each of them can be asked for.

NVIDIA's image keeps the pod contract, but knows nothing of what is beyond NIM. A field that it cannot honour is refused
in words, never dropped. Which variables it reads differs by its generation, and newer images refuse older names, so the
model variables are the user's own, in `spec.server.env`.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from reranker_operator import contract
from reranker_operator.api.base import ApiType, Rule
from reranker_operator.api.cache import Cache
from reranker_operator.api.model import Model
from reranker_operator.api.names import DataKey, ObjectName
from reranker_operator.api.server import Server

_BUNDLED_OWNS = (*contract.OPERATOR_VARIABLES, *contract.ALIASES)
_NIM_OWNS = (*contract.NIM_VARIABLES, *contract.NIM_PORT_VARIABLES)


class Runtime(StrEnum):
    """What runs in the pods."""

    BUNDLED = "Bundled"
    NIM = "NIM"


class NgcSecret(ApiType):
    """A key of a Secret of the same namespace, with an API key of NVIDIA's NGC."""

    name: ObjectName
    """Name of the Secret."""
    key: DataKey = "NGC_API_KEY"
    """Its key."""


class Nim(ApiType):
    """What NVIDIA's image needs."""

    api_key_secret: NgcSecret | None = None
    """API key for what the image downloads (NGC_API_KEY). Not needed where the cache holds it already."""
    cache: Cache | None = None
    """Where the image keeps what it downloads (NIM_CACHE_PATH). Without it, each pod downloads it anew."""


def downloads(spec: Any) -> bool:
    """Whether anything is fetched from outside: by the model Job, or by NVIDIA's image."""
    source = spec.model.source
    return spec.runtime is Runtime.NIM or (source is not None and source.hugging_face is not None)


def _of_nim(cel: str, message: str, holds: Callable[[Any], bool]) -> Rule:
    return Rule(
        cel=f"self.runtime != 'NIM' || {cel}",
        message=f"with runtime NIM, {message}",
        holds=lambda spec: spec.runtime is not Runtime.NIM or holds(spec),
    )


def _of_bundled(cel: str, message: str, holds: Callable[[Any], bool]) -> Rule:
    return Rule(
        cel=f"self.runtime == 'NIM' || {cel}",
        message=message,
        holds=lambda spec: spec.runtime is Runtime.NIM or holds(spec),
    )


def _sets_none(names: tuple[str, ...]) -> tuple[str, Callable[[Any], bool]]:
    """`spec.server.env` holds none of these, as CEL and as a predicate."""
    cel = f"!has(self.server.env) || !self.server.env.exists(e, e.name in {list(names)})"
    return f"({cel})", lambda spec: not any(entry["name"] in names for entry in spec.server.env)


_BUNDLED_ENV, _NIM_ENV = _sets_none(_BUNDLED_OWNS), _sets_none(_NIM_OWNS)

RUNTIME_RULES = (
    _of_bundled(
        "has(self.model.source)",
        "model.source is missing: say where the model comes from",
        lambda spec: spec.model.source is not None,
    ),
    _of_bundled(
        "!has(self.nim)",
        "nim is for NVIDIA's image: say runtime: NIM, or leave nim out",
        lambda spec: spec.nim is None,
    ),
    _of_bundled(
        _BUNDLED_ENV[0],
        "server.env holds a variable that the operator sets itself: use the field of spec.model or spec.server for it "
        f"(the operator's own: {', '.join(_BUNDLED_OWNS)})",
        _BUNDLED_ENV[1],
    ),
    _of_nim(
        "has(self.image.repository)",
        "image.repository must name NVIDIA's image, such as nvcr.io/nim/nvidia/llama-3.2-nv-rerankqa-1b-v2",
        lambda spec: spec.image.repository is not None,
    ),
    _of_nim(
        "(!has(self.model.name) && !has(self.model.source) && !has(self.model.digest) && !has(self.model.maxTokens) "
        "&& self.model.precision == 'auto')",
        "leave out model: the image brings its own and cannot be held to a digest; what it lets one choose are "
        "variables of its generation, in server.env",
        lambda spec: spec.model == Model(),
    ),
    _of_nim(
        "!has(self.authentication)",
        "leave out authentication: the image asks for no keys; put what does in front of it",
        lambda spec: spec.authentication is None,
    ),
    _of_nim(
        "!has(self.tls)",
        "leave out tls: how the image serves it differs by generation, and probes are plain HTTP; end TLS at an "
        "Ingress or a Gateway",
        lambda spec: spec.tls is None,
    ),
    _of_nim(
        "(self.server.maxPassages == 512 && self.server.maxQueueSeconds == 10 && self.server.logLevel == 'info')",
        "leave out server.maxPassages, maxQueueSeconds and logLevel: the image has limits and variables of its own, "
        "which go into server.env",
        lambda spec: spec.server == Server(env=spec.server.env),
    ),
    _of_nim(
        _NIM_ENV[0],
        "server.env must leave out the API's address, port and TLS, which probes and the Service rely on, and what "
        f"spec.nim sets: {', '.join(_NIM_OWNS)}",
        _NIM_ENV[1],
    ),
    _of_nim(
        "(!has(self.networkPolicy) || !has(self.networkPolicy.monitoring) "
        "|| self.networkPolicy.monitoring.size() == 0)",
        "leave out networkPolicy.monitoring: the image has metrics on the API port only, so who may read them may "
        "rank: name them in networkPolicy.from",
        lambda spec: spec.network_policy is None or not spec.network_policy.monitoring,
    ),
    _of_nim(
        "(!has(self.autoscaling) || !has(self.autoscaling.targetQueueSeconds))",
        "leave out autoscaling.targetQueueSeconds: the image tells no seconds in the queue; scale by "
        "autoscaling.metrics",
        lambda spec: spec.autoscaling is None or spec.autoscaling.target_queue_seconds is None,
    ),
    Rule(
        cel="!has(self.proxy) || self.runtime == 'NIM' || has(self.model.source) && has(self.model.source.huggingFace)",
        message="proxy is for downloads, and only a huggingFace source and runtime NIM download: leave it out",
        holds=lambda spec: spec.proxy is None or downloads(spec),
    ),
)
