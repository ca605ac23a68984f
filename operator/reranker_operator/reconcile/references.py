"""What a spec refers to by name, and which of it is missing."""

from dataclasses import dataclass, replace
from typing import Any

from reranker_operator import contract
from reranker_operator.api import RerankerService
from reranker_operator.api.cache import Cache as ModelCache
from reranker_operator.api.proxy import DefaultProxy
from reranker_operator.api.runtime import Runtime
from reranker_operator.api.source import HuggingFaceSource, PersistentVolumeClaimSource
from reranker_operator.api.spec import Spec
from reranker_operator.desired import Desired
from reranker_operator.desired.metadata import MODEL_HASH, annotation, digest
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
    missing_authorities: tuple[Missing, ...] = ()
    """What the operator's default names, or named: missing only where it is used."""

    def used_by(self, service: RerankerService, wanted: Desired, deployment: dict[str, Any] | None) -> "References":
        """The same with those among what is missing that `wanted` reads: pods that download, or a Job to be run."""
        template = wanted.template
        if service.spec.runtime is Runtime.BUNDLED:
            if wanted.model_job is None or annotation(deployment, MODEL_HASH) == wanted.model_hash:
                return self
            template = wanted.model_job["spec"]["template"]
        used = {each.name for each in mounted_authorities(template)}
        more = [each for each in self.missing_authorities if each.reference.name in used]
        return replace(self, missing=[*self.missing, *more])


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
    if not isinstance(spec.proxy, DefaultProxy):
        found += _of_proxy(spec)
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


def default_authorities(service: RerankerService, deployment: dict[str, Any] | None) -> list[Reference]:
    """Certificates that the operator's default names, and those that it named when the pods' template was made."""
    proxy = service.spec.proxy
    if proxy is not None and not isinstance(proxy, DefaultProxy):
        return []
    before = mounted_authorities(deployment["spec"]["template"]) if deployment is not None else []
    return list(dict.fromkeys((*_of_proxy(service.spec), *before)))


def _of_proxy(spec: Spec) -> list[Reference]:
    if spec.proxy is None or (ca := spec.proxy.ca_config_map) is None:
        return []
    return [Reference("ConfigMap", ca.name, f"{spec.proxy.said_in}.caConfigMap", ca.key)]


def mounted_authorities(template: dict[str, Any]) -> list[Reference]:
    """The operator's own volume in a pod template; the user's volumes have other names."""
    volumes = [each for each in template["spec"].get("volumes") or () if each["name"] == contract.CA_VOLUME]
    names = [(each.get("configMap") or {}).get("name") for each in volumes]
    return [Reference("ConfigMap", name, f"{DefaultProxy.said_in}.caConfigMap") for name in names if name]


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


async def resolve(
    cache: Cache, contents: Contents, service: RerankerService, deployment: dict[str, Any] | None
) -> References:
    """Look each reference up. A kind that the operator may not read is named as not checked, never as missing."""
    named, authorities = references(service), default_authorities(service, deployment)
    both = (*named, *authorities)
    objects = sorted({(each.kind, each.name) for each in both})
    left = cache.refer((service.namespace, service.name), [(KINDS[kind], name) for kind, name in objects])
    contents.forget(left)
    found: dict[tuple[str, str], Entries | None] = {}
    for kind, name in objects:
        keyed = any(each.kind == kind and each.name == name and (each.key or each.read) for each in both)
        found[kind, name] = await _look_up(cache, contents, service.namespace, KINDS[kind], name, keyed=keyed)

    def missing(among: list[Reference]) -> list[Missing]:
        lacking = (_lacking(each, found[each.kind, each.name]) for each in among if not each.optional)
        return list(dict.fromkeys(Missing(each, service.namespace) for each in lacking if each is not None))

    contents_of = {
        each: [each.field, each.kind, each.name, each.key, _digests(found[each.kind, each.name], each.key)]
        for each in named
    }
    unreadable = [each for each in named if found[each.kind, each.name] is UNREADABLE]
    read = [said for each, said in contents_of.items() if each.read]
    fetched_with = [said for each, said in contents_of.items() if each.fetched_with]
    return References(
        missing=missing(named),
        unchecked=list(dict.fromkeys(f"{each.kind} {each.name}" for each in unreadable)),
        inputs=digest(read) if read else None,
        credentials=digest(fetched_with) if fetched_with else None,
        inputs_unknown=any(each.read for each in unreadable),
        credentials_unknown=any(each.fetched_with for each in unreadable),
        missing_authorities=tuple(missing(authorities)),
    )


def _lacking(reference: Reference, entries: Entries | None) -> Reference | None:
    """What of a reference leads nowhere: the thing, or its key."""
    if entries is UNREADABLE:
        return None
    if entries is None:
        return Reference(reference.kind, reference.name, reference.field)
    return reference if reference.key is not None and reference.key not in entries else None


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
