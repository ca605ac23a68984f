"""Where the model is kept: a NIMService's own claim, or that of the NIMCache it names."""

import re
from dataclasses import dataclass
from typing import Any

from reranker_operator.convert.reader import ConvertError, Fields, Json, read_namespace
from reranker_operator.convert.table import CACHE_LEFT

_MEBIBYTE = 1 << 20
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
_UNITS["Ti"] = 1 << 40


@dataclass(frozen=True)
class Store:
    """What is known of a service's model store."""

    cache: Json | None = None
    """Its claim, as spec.nim.cache."""
    profile: str | None = None
    """The model profile that is asked for."""
    hub: Json | None = None
    """The repository of a Hugging Face hub that a NIMCache was filled from, as spec.model.source.huggingFace."""
    shared_memory: str | None = None
    """Size of /dev/shm."""


class Caches:
    """The NIMCaches among the manifests."""

    def __init__(self) -> None:
        self._stores: dict[tuple[str, str], Store] = {}
        self.used: set[tuple[str, str]] = set()
        """Namespace and name of those that a service names."""

    def add(self, cache: Fields) -> tuple[str, str]:
        """Read one; returns its namespace, if it has one, and name."""
        key, store = _read_cache(cache)
        self._stores[key] = store
        return key

    def find(self, namespace: str | None, name: str) -> Store | None:
        """The one that a service of `namespace` names."""
        for key in ((namespace or "", name), ("", name)):
            if key in self._stores:
                self.used.add(key)
                return self._stores[key]
        return None


def _read_cache(cache: Fields) -> tuple[tuple[str, str], Store]:
    """A NIMCache: its claim, and its repository of a hub, if that is its source."""
    metadata, spec = cache.child("metadata"), cache.child("spec")
    name, namespace = metadata.text("name"), read_namespace(metadata)
    if name is None:
        raise ConvertError("metadata.name is missing")
    for each in ("labels", "annotations", "creationTimestamp", "generation", "managedFields"):
        metadata.raw(each)
    for each in ("resourceVersion", "uid", "ownerReferences", "finalizers"):
        metadata.raw(each)
    for each in ("apiVersion", "kind"):
        cache.raw(each)
    leave(spec, CACHE_LEFT)
    status: Any = cache.raw("status")
    made_claim = status.get("pvc") if isinstance(status, dict) else None
    claim = spec.child("storage").child("pvc")
    store = Store(cache=_claim(claim, f"{name}-pvc", made_claim, f"NIMCache {name}"), hub=_hub(spec.child("source")))
    cache.finish()
    return (namespace or "", name), store


def read_storage(spec: Fields, namespace: str | None, caches: Caches) -> Store:
    """`spec.storage` of a NIMService."""
    storage = spec.child("storage")
    named = storage.child("nimCache")
    older = spec.child("nimCache")  # of the first versions
    names, profiles = (named.text("name"), older.text("name")), (named.text("profile"), older.text("profile"))
    name, profile = names[0] or names[1], profiles[0] or profiles[1]
    if named and older:
        spec.tell("nimCache", "left out: storage.nimCache is there, too, and is taken")
    own = storage.child("pvc")
    shared = storage.raw("sharedMemorySizeLimit")
    memory = _mebibytes(shared)
    if shared is not None and memory is None:
        storage.tell("sharedMemorySizeLimit", f"left out: {shared!r} is not understood; set spec.pod.sharedMemory")
    known: Store | None = None
    if name is not None:
        known = caches.find(namespace, name)
        if own:
            storage.tell("pvc", "left out: the NIMCache's claim is used")
        for each in ("create", "name", "storageClass", "size", "volumeAccessMode"):
            own.raw(each)
        if known is None:
            words = f"NIMCache {name} is not among the manifests; its claim is taken to be {name}-pvc (see its status)"
            storage.tell("nimCache.name", words)
            known = Store(cache={"existingClaim": f"{name}-pvc"})
    cache = known.cache if known is not None else _own_claim(own, spec)
    return Store(cache, profile, known.hub if known is not None else None, memory)


def leave(part: Fields, left: dict[str, str]) -> None:
    """Every field of `left`, by its path below `part`."""
    below: dict[str, Fields] = {"": part}
    for path, why in left.items():
        above, _, name = path.rpartition(".")
        place = part
        walked = ""
        for step in above.split(".") if above else ():
            walked = f"{walked}.{step}".strip(".")
            place = below.setdefault(walked, place.child(step))
        place.leave(name, why)


def _own_claim(claim: Fields, spec: Fields) -> Json | None:
    if claim.flag("create") and claim.text("size") is not None:
        if claim.text("name") is not None:
            claim.tell("name", "left out: the claim that is made is called NAME-model-cache")
        made: Json = {"size": claim.text("size")}
        if (storage_class := claim.text("storageClass")) is not None:
            made["storageClassName"] = storage_class
        if (mode := claim.text("volumeAccessMode")) is not None:
            made["accessModes"] = [mode]
        spec.tell(
            "storage.pvc", "a new claim is made, and filled by a download; cache.existingClaim would keep the old"
        )
        return made
    return _claim(claim, None, None, "the NIMService")


def _claim(claim: Fields, default: str | None, made: Any, owner: str) -> Json | None:
    """A claim that exists already, so that what it holds is not downloaded again."""
    name = claim.text("name") or (made if isinstance(made, str) and made else None) or default
    creates = claim.flag("create")
    for each in ("storageClass", "size", "volumeAccessMode"):
        value = claim.text(each)
        if value is not None and not creates:
            claim.tell(each, "left out: it is for a claim that is made")
    if creates and name is not None:
        words = f"claim {name} is used as it is; it may go when {owner} is deleted (its ownerReferences tell)"
        claim.tell("create", words)
    elif creates:
        claim.tell("create", "left out: neither size nor name of the claim is given; see spec.nim.cache")
    return {"existingClaim": name} if name is not None else None


def _hub(source: Fields) -> Json | None:
    hub = source.child("hf")
    namespace, name, token = hub.text("namespace"), hub.text("modelName"), hub.text("authSecret")
    endpoint, revision = hub.text("endpoint"), hub.text("revision")
    hub.leave("datasetName", "a data set is no model")
    if name is None:
        return None
    made: Json = {"repository": f"{namespace}/{name}" if namespace else name}
    if revision is not None:
        made["revision"] = revision
    if token is not None:
        made["tokenSecret"] = {"name": token, "key": "HF_TOKEN"}
    if endpoint is not None and endpoint.rstrip("/") != "https://huggingface.co":
        made["endpoint"] = endpoint
    return made


def _mebibytes(quantity: Any) -> str | None:
    """A quantity as spec.pod.sharedMemory has it, rounded up."""
    found = re.fullmatch(r"([0-9]+(?:[.][0-9]+)?)(Ki|Mi|Gi|Ti|k|M|G|T)?", str(quantity)) if quantity else None
    if found is None:
        return None
    size = -(-float(found[1]) * _UNITS[found[2] or ""] // _MEBIBYTE)
    return f"{int(size)}Mi" if size > 0 else None
