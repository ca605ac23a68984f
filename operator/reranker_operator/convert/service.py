"""One NIMService: identity, placement, resources and scale, and the parts that other modules know."""

import re
from typing import Any

from reranker_operator.api import KIND, InvalidResourceError, RerankerService
from reranker_operator.api.resource import API_VERSION
from reranker_operator.api.runtime import Runtime
from reranker_operator.api.spec import LABEL_PREFIX, OWNED_LABELS
from reranker_operator.convert import exposure, model
from reranker_operator.convert.model import Wishes
from reranker_operator.convert.reader import ConvertError, Fields, Json, read_namespace, shown
from reranker_operator.convert.storage import Caches, Store, leave, read_storage
from reranker_operator.convert.table import LEFT

_SERVER_SET = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid")
_OPERATORS_SET = ("ownerReferences", "finalizers")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_HALF = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}


def is_reranker(spec: Any) -> bool:
    """Whether a NIMService's spec says, by its type or its image, that it ranks."""
    if not isinstance(spec, dict):
        return True  # to be told what is wrong with it
    image = spec.get("image")
    repository = image.get("repository") if isinstance(image, dict) else None
    return spec.get("type") == "reranking" or not isinstance(repository, str) or "rerank" in repository.lower()


def convert_service(document: Fields, caches: Caches, wishes: Wishes) -> Json:
    """The RerankerService of a NIMService. Raises `ConvertError`."""
    document.raw("apiVersion")
    document.raw("kind")
    document.raw("status")  # operators write it
    metadata = _metadata(document.child("metadata"))
    spec = convert_spec(document.child("spec"), metadata["name"], metadata.get("namespace"), caches, wishes)
    document.finish()
    return checked({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec})


def convert_spec(spec: Fields, name: str, namespace: str | None, caches: Caches, wishes: Wishes) -> Json:
    """`spec` of a NIMService, or of one in a NIMPipeline."""
    made: Json = {}
    store = read_storage(spec, namespace, caches)
    env = _variables(spec)
    if wishes.runtime is Runtime.NIM:
        model.nim(spec, store, env, made)
    else:
        model.bundled(spec, store, env, made, wishes)
    _size(spec, made)
    exposure.expose(spec, name, namespace, made)
    exposure.metrics(spec, made)
    _proxy(spec, made)
    _place(spec, name, store, made)
    kind, platform = spec.text("type"), spec.text("inferencePlatform")
    if kind not in (None, "reranking"):
        spec.tell("type", f"left out: a RerankerService ranks, whatever {kind!r} stands for")
    if platform not in (None, "standalone"):
        spec.tell("inferencePlatform", f"left out: {platform} is not used, the operator makes a Deployment")
    leave(spec, LEFT)
    return made


def checked(made: Json, path: str = "") -> Json:
    """`made`, if this operator takes it; `path` is of what it was. Raises `ConvertError`."""
    try:
        RerankerService.parse(made)
    except InvalidResourceError as error:
        words = f"what it becomes is refused: {'; '.join(error.problems)}"
        raise ConvertError(f"{path}: {words}" if path else words) from error
    return made


def _metadata(metadata: Fields) -> Json:
    name = metadata.text("name")
    if name is None:
        raise ConvertError("metadata.name is missing")
    made: Json = {"name": name}
    if (namespace := read_namespace(metadata)) is not None:
        made["namespace"] = namespace
    if labels := metadata.strings("labels"):
        made["labels"] = labels
    kept = {key: value for key, value in metadata.strings("annotations").items() if key != _LAST_APPLIED}
    if kept:
        made["annotations"] = kept
    for each in (*_SERVER_SET, *_OPERATORS_SET):
        metadata.raw(each)  # every live object has them, and no manifest that a person wrote
    return made


def _variables(spec: Fields) -> list[Json]:
    """`env`, each name once: of several the last one counts, as in a pod."""
    found: dict[str, Json] = {}
    for n, each in enumerate(spec.entries("env")):
        if not isinstance(each, dict) or not isinstance(each.get("name"), str):
            raise ConvertError(f"{spec.at('env')}[{n}] must be a variable with a name, not {shown(each)}")
        if each["name"] in found:
            spec.tell("env", f"{each['name']} is there twice: the last one is taken, as in a pod")
            del found[each["name"]]
        found[each["name"]] = each
    return list(found.values())


def _size(spec: Fields, made: Json) -> None:
    replicas = spec.integer("replicas")
    if replicas is not None:
        made["replicas"] = replicas
    resources = spec.child("resources")
    parts = {name: dict(resources.mapping(name)) for name in ("requests", "limits")}
    gpus = list(dict.fromkeys(key for part in parts.values() for key in part if re.match(r"nvidia[.]com/", str(key))))
    if gpus:
        counts = {name: part.pop(gpus[0]) for name, part in parts.items() if gpus[0] in part}
        where = "limits" if "limits" in counts else "requests"
        made["gpus"] = _count(counts[where], resources.at(f"{where}.{gpus[0]}"))
        made["gpuResource"] = gpus[0]
    else:
        made["gpus"] = 0
        resources.tell("limits", "names no GPU, so the service gets none (spec.gpus: 0); say how many it needs")
    if kept := {name: part for name, part in parts.items() if part}:
        made["resources"] = kept
    _scale(spec.child("scale"), made)


def _count(value: Any, path: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    raise ConvertError(f"{path} must be a number of GPUs, not {shown(value)}")


def _scale(scale: Fields, made: Json) -> None:
    enabled, hpa, older = scale.flag("enabled"), scale.child("hpa"), scale.integer("minReplicas")
    least, most = hpa.integer("minReplicas"), hpa.integer("maxReplicas")
    metrics, behavior = hpa.entries("metrics"), hpa.mapping("behavior")
    if older is not None:
        scale.tell(
            "minReplicas", "left out: without an autoscaler it says nothing (spec.replicas is the number of pods)"
        )
    if not enabled:
        if hpa:
            scale.tell("hpa", "left out: scale.enabled is not true")
        return
    if most is None:
        raise ConvertError(f"{hpa.at('maxReplicas')} is missing, and scale.enabled is true")
    wanted: Json = {"maxReplicas": most, "metrics": metrics or [_HALF]}
    if not metrics:
        hpa.tell("metrics", "there are none, so the autoscaler's own is written out: 80 % of the requested CPU")
    if least is not None:
        wanted["minReplicas"] = max(least, 1)
    if least == 0:
        hpa.tell("minReplicas", "1 instead of 0: nothing here could tell when to wake a service without pods")
    if behavior:
        wanted["behavior"] = behavior
    made["autoscaling"] = wanted


def _proxy(spec: Fields, made: Json) -> None:
    proxy = spec.child("proxy")
    pairs = (("http", "httpProxy"), ("https", "httpsProxy"), ("noProxy", "noProxy"))
    wanted: Json = {name: value for name, field in pairs if (value := proxy.text(field)) is not None}
    if (certificates := proxy.text("certConfigMap")) is not None:
        wanted["caConfigMap"] = {"name": certificates}
        words = (
            "one key of it is used, ca.crt unless spec.proxy.caConfigMap.key names another: put all authorities into it"
        )
        proxy.tell("certConfigMap", words)
    if not wanted:
        return
    downloads = "huggingFace" in made.get("model", {}).get("source", {})
    if made.get("runtime") == Runtime.NIM or downloads:
        made["proxy"] = wanted
    else:
        spec.tell("proxy", "left out: nothing is downloaded from a claim")


def _place(spec: Fields, name: str, store: Store, made: Json) -> None:
    """Placement and metadata of the pods."""
    labels = _labels(spec)
    if labels:
        made["service"] = {**made.get("service", {}), "labels": labels}
    pod: Json = {
        "labels": labels,
        "annotations": spec.strings("annotations"),
        "nodeSelector": spec.strings("nodeSelector"),
        "tolerations": spec.entries("tolerations"),
        "affinity": _affinity(spec, name),
        **{each: spec.text(each) for each in ("priorityClassName", "runtimeClassName", "schedulerName")},
        "sharedMemory": store.shared_memory,
        "securityContext": _user(spec),
    }
    if given := {key: value for key, value in pod.items() if value}:
        made["pod"] = given


def _labels(spec: Fields) -> dict[str, str]:
    labels = spec.strings("labels")
    free = {key: value for key, value in labels.items() if not key.startswith(LABEL_PREFIX) and key not in OWNED_LABELS}
    if owned := ", ".join(sorted(labels.keys() - free.keys())):
        spec.tell("labels", f"{owned} left out: the operator sets these itself")
    return free


def _affinity(spec: Fields, name: str) -> Json:
    whole, pods = dict(spec.mapping("affinity")), spec.mapping("podAffinity")
    if pods and "podAffinity" in whole:
        spec.tell("podAffinity", "left out: affinity.podAffinity is there, too, and is taken")
    elif pods:
        whole["podAffinity"] = pods
    if repr(name) in str(whole):
        words = "if it selects this service's own pods: they are labelled app.kubernetes.io/instance, with its name"
        spec.tell("affinity", words)
    return whole


def _user(spec: Fields) -> Json:
    user, group = spec.integer("userID"), spec.integer("groupID")
    made: Json = {}
    if user == 0:
        spec.tell("userID", "left out: pods never run as root; the image's user is taken")
    elif user is not None:
        made["runAsUser"] = user
    if group == 0:
        spec.tell("groupID", "left out: it is root's group; the image's is taken")
    elif group is not None:
        made |= {"runAsGroup": group, "fsGroup": group}
    return made
