"""The model: NVIDIA's image as it is, or the bundled runtime and where its model comes from."""

import re
from dataclasses import dataclass
from typing import Any

from reranker_operator import contract
from reranker_operator.api.runtime import Runtime
from reranker_operator.api.server import LogLevel
from reranker_operator.convert.reader import ConvertError, Fields, Json
from reranker_operator.convert.storage import Store

_COMMIT = re.compile(r"[0-9a-f]{40}")
_MODEL_NAMES = ("NIM_SERVED_MODEL_NAME", "NIM_MODEL_NAME", "NIM_ENGINE_MODEL_NAME")
_PRECISIONS = {given: name for name, given in contract.PRECISION_NAMES.items()}
_CREDENTIALS = ("NGC_API_KEY", "NIM_CACHE_PATH", "NIM_MODEL_PROFILE")
"""Variables by which NVIDIA's image finds its model."""


@dataclass(frozen=True)
class Wishes:
    """The command line of `convert`."""

    runtime: Runtime = Runtime.NIM
    services: tuple[str, ...] = ()
    """Names of services to convert whatever their image is called."""
    hugging_face: tuple[str, str] | None = None
    """Repository and commit."""
    claim: tuple[str, str | None] | None = None
    """Claim, and directory in it."""


def nim(spec: Fields, store: Store, env: list[Json], made: Json) -> None:
    """NVIDIA's image, in the pod that it is in today."""
    made["runtime"] = Runtime.NIM.value
    made["image"] = _image(spec)
    secret = spec.text("authSecret")
    key = {"name": secret} if secret is not None else _api_key(env)
    kept = [each for each in env if _is_free(each, spec, key)]
    if store.profile is not None:
        kept.append({"name": "NIM_MODEL_PROFILE", "value": store.profile})
    if store.hub is not None:
        words = (
            f"it was filled from {store.hub['repository']} of a hub: its variables (spec.server.env) tell the image so"
        )
        spec.tell("storage.nimCache", words)
    nim_part: Json = {}
    if key is not None:
        nim_part["apiKeySecret"] = key
    if store.cache is not None:
        nim_part["cache"] = store.cache
    if nim_part:
        made["nim"] = nim_part
    if kept:
        made["server"] = {"env": kept}


def bundled(spec: Fields, store: Store, env: list[Json], made: Json, wishes: Wishes) -> None:
    """The bundled runtime in the image's place. Raises `ConvertError` where no model can be known."""
    image = _image(spec)
    given = spec.child("image")
    given.tell("repository", "gives the served name alone: the operator's own runtime image takes its place")
    for each in sorted(image.keys() - {"repository"}):
        given.tell(each, "left out: the operator's own runtime image is pulled")
    secret = spec.text("authSecret")
    if secret is not None:
        spec.tell("authSecret", "left out: the bundled runtime downloads nothing from NGC")
    if store.profile is not None:
        spec.tell("storage.nimCache.profile", "left out: profiles are of NVIDIA's image")
    model: Json = {"name": _served_name(image["repository"]), "source": _source(spec, store, wishes)}
    server: Json = {}
    kept = [each for each in env if not _taken(each, spec, model, server)]
    if kept:
        server["env"] = kept
    made["model"] = model
    if server:
        made["server"] = server


def _image(spec: Fields) -> Json:
    image = spec.child("image")
    repository, tag = image.text("repository"), image.text("tag")
    if repository is None:
        raise ConvertError(f"{image.at('repository')} is missing: name the image")
    made: Json = {"repository": repository}
    if tag is not None:
        made["tag"] = tag
    if (policy := image.text("pullPolicy")) is not None:
        made["pullPolicy"] = policy
    if secrets := image.names("pullSecrets"):
        made["pullSecrets"] = [{"name": name} for name in dict.fromkeys(secrets)]
    return made


def _served_name(repository: str) -> str:
    """The name that NVIDIA's image of this repository serves under, so that clients need not change."""
    _registry, nim_path, name = repository.rpartition("/nim/")
    return name if nim_path else "/".join(repository.split("/")[-2:])


def _api_key(env: list[Json]) -> Json | None:
    """The Secret that the variable is read from, where `authSecret` is not given."""
    for each in env:
        source = each.get("valueFrom")
        found = source.get("secretKeyRef") if isinstance(source, dict) else None
        if each["name"] == "NGC_API_KEY" and isinstance(found, dict):
            return {"name": found.get("name"), "key": found.get("key")}
    return None


def _is_free(variable: Json, spec: Fields, key: Json | None) -> bool:
    """Whether the operator leaves a variable of NVIDIA's image to the user; what it does not is said."""
    name = variable["name"]
    if name not in (*contract.NIM_VARIABLES, *contract.NIM_PORT_VARIABLES):
        return True
    if not (name == "NGC_API_KEY" and key is not None and key == _api_key([variable])):
        spec.tell("env", f"{name} left out: the operator sets the API's address, port, cache and key itself")
    return False


def _source(spec: Fields, store: Store, wishes: Wishes) -> Json:
    if wishes.claim is not None:
        if store.cache is not None:
            spec.tell("storage", "left out: --claim says where the model is, and nothing is downloaded")
        name, path = wishes.claim
        return {"persistentVolumeClaim": {"claimName": name, **({"path": path} if path else {})}}
    hub = dict(store.hub) if store.hub is not None else {}
    if wishes.hugging_face is not None:
        hub["repository"], hub["revision"] = wishes.hugging_face
    if not hub:
        raise ConvertError(
            f"{spec.at('storage')} does not say where the bundled runtime gets its model, since NVIDIA's image brings "
            "its own: add --hugging-face OWNER/NAME@COMMIT or --claim CLAIM/DIRECTORY, or convert with --runtime NIM"
        )
    if not _COMMIT.fullmatch(hub.get("revision", "")):
        raise ConvertError(
            f"{spec.at('storage.nimCache')}: the model {hub['repository']} of its NIMCache is at revision "
            f"{hub.get('revision', 'of no name')!r}, and a service pins a commit: add --hugging-face "
            f"{hub['repository']}@COMMIT, with 40 hexadecimal digits"
        )
    cache = store.cache
    if cache is None:
        cache = {"size": "50Gi"}
        spec.tell("storage", "no claim is named: the download gets one of 50Gi (spec.model.source.huggingFace.cache)")
    return {"huggingFace": {**hub, "cache": cache}}


def _taken(variable: Json, spec: Fields, model: Json, server: Json) -> bool:
    """Whether a variable became a field, or is left out; both are said where a reader may wonder."""
    name, value = variable["name"], variable.get("value")
    if name in (*contract.OPERATOR_VARIABLES, *contract.ALIASES) or name in _CREDENTIALS:
        if not (isinstance(value, str) and _as_field(name, value, model, server)):
            spec.tell("env", f"{name} left out: the operator sets it itself, or the bundled runtime has no use for it")
        return True
    if name.startswith("NIM_"):
        spec.tell(
            "env", f"{name} kept: docs/pod-contract.md and docs/operations.md tell what the bundled runtime reads"
        )
    return False


def _as_field(name: str, value: str, model: Json, server: Json) -> bool:
    field: tuple[Json, str, Any] | None = None
    if name in _MODEL_NAMES and "," not in value and value:
        field = (model, "name", value)
    elif name == "NIM_PIPELINE_MAX_SEQ_LEN" and value.isascii() and value.isdigit():
        field = (model, "maxTokens", int(value))
    elif name == "NIM_PRECISION" and value in _PRECISIONS:
        field = (model, "precision", _PRECISIONS[value])
    elif name == "NIM_LOG_LEVEL" and value.lower() in {each.value for each in LogLevel}:
        field = (server, "logLevel", value.lower())
    if field is None:
        return False
    part, key, found = field
    part[key] = found
    return True
