"""What a spec refers to by name, and which of it is missing."""

from dataclasses import dataclass
from typing import Any

from reranker_operator.api import RerankerService
from reranker_operator.api.cache import Cache as ModelCache
from reranker_operator.api.runtime import Runtime
from reranker_operator.api.source import HuggingFaceSource, PersistentVolumeClaimSource
from reranker_operator.api.spec import Spec
from reranker_operator.desired.metadata import digest
from reranker_operator.desired.pod import keys_secret
from reranker_operator.kube import Kind
from reranker_operator.kube.reflector import Knowledge
from reranker_operator.reconcile.cache import Cache
from reranker_operator.reconcile.contents import UNREADABLE, Contents, Entries


@dataclass(frozen=True, order=True)
class Reference:
    """One named thing, the field that names it and, for Secrets and ConfigMaps, the key."""

    kind: str
    name: str
    field: str
    key: str | None = None
    optional: bool = False
    read: bool = False
    """Whether the ranking container reads it at its start, and never again."""
    fetched_with: bool = False
    """Whether the model is downloaded with it."""


@dataclass(frozen=True)
class Missing:
    """A reference that leads nowhere."""

    reference: Reference
    namespace: str

    def __str__(self) -> str:
        what = self.reference
        thing = f"{what.kind} {what.name!r}" if not what.name.isprintable() else f"{what.kind} {what.name}"
        thing += f" has no key {what.key}" if what.key else " does not exist"
        place = "" if what.kind in _CLUSTER_WIDE else f" in namespace {self.namespace}"
        return f"{thing}{place} (named by {what.field})"


@dataclass(frozen=True)
class References:
    """The outcome of looking."""

    missing: list[Missing]
    unchecked: list[str]
    inputs: str | None
    """Stands for all that the ranking container reads at its start; None where that is nothing."""
    credentials: str | None
    """Stands for what the model is downloaded with."""
    inputs_unknown: bool = False
    """Whether some of what `inputs` stands for may not be read just now: it may be what it was."""
    credentials_unknown: bool = False


KINDS = {
    "Secret": Kind.SECRET,
    "ConfigMap": Kind.CONFIG_MAP,
    "PersistentVolumeClaim": Kind.CLAIM,
    "ServiceAccount": Kind.SERVICE_ACCOUNT,
    "PriorityClass": Kind.PRIORITY_CLASS,
    "RuntimeClass": Kind.RUNTIME_CLASS,
    "IngressClass": Kind.INGRESS_CLASS,
    "StorageClass": Kind.STORAGE_CLASS,
}
_CLUSTER_WIDE = ("PriorityClass", "RuntimeClass", "IngressClass", "StorageClass")


def references(service: RerankerService) -> list[Reference]:
    """Every name in the spec that must lead somewhere."""
    spec = service.spec
    found: list[Reference] = []
    found += _of_source(spec) if spec.runtime is Runtime.BUNDLED else _of_nim(spec)
    if spec.proxy is not None and (ca := spec.proxy.ca_config_map) is not None:
        found.append(Reference("ConfigMap", ca.name, f"{spec.proxy.said_in}.caConfigMap", ca.key))
    found += [Reference("Secret", each.name, "spec.image.pullSecrets") for each in spec.image.pull_secrets]
    for variable in spec.server.env:
        found += _of_variable(variable)
    mounted = {mount["name"] for mount in spec.pod.volume_mounts}
    for volume in spec.pod.volumes:
        found += _of_volume(volume, read=volume["name"] in mounted)
    found += _of_access(service)
    for kind, name, field in (
        ("ServiceAccount", spec.pod.service_account_name, "spec.pod.serviceAccountName"),
        ("PriorityClass", spec.pod.priority_class_name, "spec.pod.priorityClassName"),
        ("RuntimeClass", spec.pod.runtime_class_name, "spec.pod.runtimeClassName"),
    ):
        if name is not None:
            found.append(Reference(kind, name, field))
    return sorted(set(found), key=lambda each: (each.field, each.kind, each.name, each.key or ""))


def _of_source(spec: Spec) -> list[Reference]:
    source, found = spec.source.chosen, []
    if isinstance(source, PersistentVolumeClaimSource):
        found.append(Reference("PersistentVolumeClaim", source.claim_name, "spec.model.source.persistentVolumeClaim"))
    if isinstance(source, HuggingFaceSource):
        field = "spec.model.source.huggingFace"
        if (token := source.token_secret) is not None:
            found.append(Reference("Secret", token.name, f"{field}.tokenSecret", token.key, fetched_with=True))
        found += _of_cache(source.cache, f"{field}.cache")
    return found


def _of_nim(spec: Spec) -> list[Reference]:
    found: list[Reference] = []
    if spec.nim is not None and (key := spec.nim.api_key_secret) is not None:
        found.append(Reference("Secret", key.name, "spec.nim.apiKeySecret", key.key))
    if spec.nim is not None and spec.nim.cache is not None:
        found += _of_cache(spec.nim.cache, "spec.nim.cache")
    return found


def _of_cache(cache: ModelCache, field: str) -> list[Reference]:
    found = []
    if cache.existing_claim is not None:
        found.append(Reference("PersistentVolumeClaim", cache.existing_claim, f"{field}.existingClaim"))
    if cache.storage_class_name is not None:
        found.append(Reference("StorageClass", cache.storage_class_name, f"{field}.storageClassName"))
    return found


def _of_access(service: RerankerService) -> list[Reference]:
    spec, found = service.spec, []
    if spec.authentication is not None and spec.authentication.api_keys_secret is not None:
        named = spec.authentication.api_keys_secret.name
        found.append(Reference("Secret", named, "spec.authentication.apiKeysSecret"))
    if spec.authentication is not None and spec.authentication.generate:
        # Made where it is missing, so nobody waits for it; that it is gone wakes the service, which makes it again.
        made = keys_secret(service)
        found.append(Reference("Secret", made, "spec.authentication.generate", optional=True))
    if spec.tls is not None:
        found += [Reference("Secret", spec.tls.secret_name, "spec.tls", key) for key in ("tls.crt", "tls.key")]
    if spec.ingress is not None and spec.ingress.tls_secret_name is not None:
        found.append(Reference("Secret", spec.ingress.tls_secret_name, "spec.ingress.tlsSecretName", "tls.crt"))
    if spec.ingress is not None and spec.ingress.class_name is not None:
        found.append(Reference("IngressClass", spec.ingress.class_name, "spec.ingress.className"))
    return found


async def resolve(cache: Cache, contents: Contents, service: RerankerService) -> References:
    """Look each reference up. A kind that the operator may not read is named as not checked, never as missing."""
    named = references(service)
    objects = sorted({(each.kind, each.name) for each in named})
    left = cache.refer((service.namespace, service.name), [(KINDS[kind], name) for kind, name in objects])
    contents.forget(left)
    found: dict[tuple[str, str], Entries | None] = {}
    for kind, name in objects:
        keyed = any(each.kind == kind and each.name == name and (each.key or each.read) for each in named)
        found[kind, name] = await _look_up(cache, contents, service.namespace, KINDS[kind], name, keyed=keyed)
    missing: list[Missing] = []
    unchecked: list[str] = []
    for reference in named:
        entries = found[reference.kind, reference.name]
        if entries is UNREADABLE:
            unchecked.append(f"{reference.kind} {reference.name}")
        elif reference.optional:
            continue
        elif entries is None:
            missing.append(Missing(Reference(reference.kind, reference.name, reference.field), service.namespace))
        elif reference.key is not None and reference.key not in entries:
            missing.append(Missing(reference, service.namespace))
    contents_of = {
        each: [each.field, each.kind, each.name, each.key, _digests(found[each.kind, each.name], each.key)]
        for each in named
    }
    unreadable = [each for each in named if found[each.kind, each.name] is UNREADABLE]
    read = [said for each, said in contents_of.items() if each.read]
    fetched_with = [said for each, said in contents_of.items() if each.fetched_with]
    return References(
        missing=list(dict.fromkeys(missing)),
        unchecked=list(dict.fromkeys(unchecked)),
        inputs=digest(read) if read else None,
        credentials=digest(fetched_with) if fetched_with else None,
        inputs_unknown=any(each.read for each in unreadable),
        credentials_unknown=any(each.fetched_with for each in unreadable),
    )


async def _look_up(
    cache: Cache, contents: Contents, namespace: str, kind: Kind, name: str, *, keyed: bool
) -> Entries | None:
    """What is inside; empty where only the existence matters, None where there is none."""
    if keyed:
        return await contents.entries(kind, namespace, name)
    knowledge, identity = await cache.named(kind, namespace, name)
    if knowledge is not Knowledge.WHOLE:
        return UNREADABLE
    return {} if identity is not None else None


def _digests(entries: Entries | None, key: str | None) -> Entries | str | None:
    if entries is UNREADABLE:
        return "not readable"
    if entries is None or key is None:
        return entries
    return entries.get(key)


def _of_variable(variable: dict[str, Any]) -> list[Reference]:
    source = variable.get("valueFrom") or {}
    field = f"spec.server.env[{variable['name']}]"
    return [
        Reference(
            kind,
            source[part].get("name", ""),
            field,
            source[part]["key"],
            optional=bool(source[part].get("optional")),
            read=True,
        )
        for part, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap"))
        if part in source
    ]


def _of_volume(volume: dict[str, Any], *, read: bool) -> list[Reference]:
    field = f"spec.pod.volumes[{volume['name']}]"
    found: list[Reference] = []
    for part, kind, name in (("secret", "Secret", "secretName"), ("configMap", "ConfigMap", "name")):
        found += _of_files(volume.get(part) or {}, kind, name, field, read=read)
        for source in (volume.get("projected") or {}).get("sources", ()):
            found += _of_files(source.get(part) or {}, kind, "name", field, read=read)
    for part, kind, path in (
        ("persistentVolumeClaim", "PersistentVolumeClaim", ("claimName",)),
        ("csi", "Secret", ("nodePublishSecretRef", "name")),
        ("ephemeral", "StorageClass", ("volumeClaimTemplate", "spec", "storageClassName")),
    ):
        named: Any = volume.get(part)
        for step in path:
            named = (named or {}).get(step)
        if named is not None and (kind, named) != ("StorageClass", ""):  # which asks for no class
            found.append(Reference(kind, named, field))
    return found


def _of_files(source: dict[str, Any], kind: str, name: str, field: str, *, read: bool) -> list[Reference]:
    """A Secret or ConfigMap that is mounted: whole, or by keys that must be there, or no pod of it starts.

    It is the whole that counts as read: templates note a digest of it, and would all change with its meaning.
    """
    if name not in source:
        return []
    optional = bool(source.get("optional"))
    keys = [each["key"] for each in source.get("items") or ()]
    return [
        Reference(kind, source[name], field, optional=optional, read=read),
        *(Reference(kind, source[name], field, key, optional=optional) for key in keys),
    ]
