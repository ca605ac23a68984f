"""What somebody else put into lists that the operator owns whole.

Server-side apply merges: an env entry, a container or a volume that another manager adds survives every apply of ours.
Those lists decide what runs with a user's data, so here they are compared entry by entry, and what is not ours goes,
unless a field manager on a short list (sidecar injectors) owns it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

_KEYED = {
    "containers": ("name",),
    "initContainers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "volumeMounts": ("mountPath",),
    "ports": ("containerPort", "port", "protocol"),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "imagePullSecrets": ("name",),
}
_REPLACED = {"Deployment": ("spec", "template", "spec"), "Service": ("spec", "ports")}
_POD_LISTS = ("containers", "initContainers", "volumes")
_FOREIGN_IN_DEPLOYMENT = ("paused", "minReadySeconds")
_FOREIGN_IN_POD = (
    "affinity",
    "activeDeadlineSeconds",
    "dnsConfig",
    "hostAliases",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "hostUsers",
    "hostname",
    "imagePullSecrets",
    "nodeName",
    "nodeSelector",
    "priorityClassName",
    "readinessGates",
    "resourceClaims",
    "runtimeClassName",
    "schedulingGates",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "subdomain",
    "tolerations",
    "topologySpreadConstraints",
)
"""Fields that decide what runs where; where we set none, nobody else does."""
_DEFAULTS_IN_POD = {"dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"}
"""What the server fills in where we set none; another value is somebody else's."""
_DEFAULTED_IN_CONTAINER = {"terminationMessagePath", "terminationMessagePolicy", "imagePullPolicy"}
"""Fields the server fills in by itself: not somebody else's."""


def removals(live: dict[str, Any], wanted: dict[str, Any], exempt_managers: Sequence[str]) -> list[dict[str, Any]]:
    """JSON Patch operations that take out of `live` what `wanted` does not hold; empty when there is nothing.

    The first operation tests the resource version, so that nothing is removed by a stale index.
    """
    kind = wanted["kind"]
    if kind == "Deployment":
        root = ("spec", "template", "spec")
        paths = list(_in_pod(_at(live, root), _at(wanted, root), root, _exempt(live, exempt_managers)))
        paths += [(*root, name) for name in _FOREIGN_IN_POD if _only_in(_at(live, root), _at(wanted, root), name)]
        paths += [
            (*root, name)
            for name, default in _DEFAULTS_IN_POD.items()
            if name not in _at(wanted, root) and _at(live, root).get(name, default) != default
        ]
        paths += [("spec", name) for name in _FOREIGN_IN_DEPLOYMENT if _only_in(live["spec"], wanted["spec"], name)]
    elif kind == "Service":
        paths = list(_in_list(live["spec"], wanted["spec"], "ports", ("spec",)))
    else:
        paths = []
    if not paths:
        return []
    return [_guard(live), *({"op": "remove", "path": _pointer(path)} for path in paths)]


def replacement(live: dict[str, Any], wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """JSON Patch operations that put what `wanted` holds in the place of what no apply can mend; empty where none can.

    The server tells entries of lists apart by one field, and refuses two that agree in another: a port whose number was
    changed stays beside ours under the same name. To remove it first could leave a list empty that must not be.
    """
    path = _REPLACED.get(wanted["kind"])
    if path is None:
        return []
    return [_guard(live), {"op": "replace", "path": _pointer(path), "value": _at(wanted, path[:-1])[path[-1]]}]


def _guard(live: dict[str, Any]) -> dict[str, Any]:
    return {"op": "test", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]}


Path = tuple[str | int, ...]


def _in_pod(live: dict[str, Any], wanted: dict[str, Any], root: Path, exempt: set[tuple[str, str]]) -> Iterator[Path]:
    # What is inside the containers first: once one of them is removed, the others have other indexes.
    for name in ("containers", "initContainers"):
        by_name = {each["name"]: each for each in wanted.get(name, ())}
        for index, container in enumerate(live.get(name, ())):
            if container["name"] in by_name:
                yield from _in_container(container, by_name[container["name"]], (*root, name, index))
    for name in ("securityContext", "affinity"):
        yield from _beyond(live, wanted, name, root)
    for name in _POD_LISTS:
        yield from _in_list(live, wanted, name, root, exempt)
    for name in ("topologySpreadConstraints", "imagePullSecrets"):
        if name in wanted:
            yield from _in_list(live, wanted, name, root)


def _in_container(live: dict[str, Any], wanted: dict[str, Any], root: Path) -> Iterator[Path]:
    for field in live.keys() - wanted.keys() - _DEFAULTED_IN_CONTAINER:
        if live[field]:
            yield (*root, field)
    # What the server fills in below these, we set.
    for name in ("securityContext", "startupProbe", "livenessProbe", "readinessProbe", "lifecycle"):
        yield from _beyond(live, wanted, name, root)
    for name in ("volumeMounts", "ports"):
        yield from _in_entries(live, wanted, name, root)
    for name in ("env", "volumeMounts", "ports"):
        if name in wanted:
            yield from _in_list(live, wanted, name, root)
    if "resources" in wanted:
        yield from _in_resources(live.get("resources", {}), wanted["resources"], (*root, "resources"))


def _in_resources(live: dict[str, Any], wanted: dict[str, Any], root: Path) -> Iterator[Path]:
    for part in live.keys() - wanted.keys() - {"limits", "requests"}:
        yield (*root, part)
    limits = {name: wanted.get("limits", {}) for name in ("limits", "requests")}
    for part, defaulted in limits.items():
        for key in live.get(part, {}).keys() - wanted.get(part, {}).keys() - defaulted.keys():
            yield (*root, part, key)


def _in_list(
    live: dict[str, Any], wanted: dict[str, Any], name: str, root: Path, exempt: set[tuple[str, str]] | None = None
) -> Iterator[Path]:
    keys = _KEYED[name]
    ours = {_key(entry, keys) for entry in wanted.get(name, ())}
    entries = list(enumerate(live.get(name, ())))
    for index, entry in reversed(entries):  # from the end, so that earlier indexes stay true
        if _key(entry, keys) not in ours and (name, entry.get("name", "")) not in (exempt or ()):
            yield (*root, name, index)


def _in_entries(live: dict[str, Any], wanted: dict[str, Any], name: str, root: Path) -> Iterator[Path]:
    """Fields that somebody added to an entry of ours, such as another directory of the same volume."""
    ours = {_key(entry, _KEYED[name]): entry for entry in wanted.get(name, ())}
    for index, entry in enumerate(live.get(name, ())):
        for field in entry.keys() - ours.get(_key(entry, _KEYED[name]), entry).keys():
            yield (*root, name, index, field)


def _beyond(live: dict[str, Any], wanted: dict[str, Any], name: str, root: Path) -> Iterator[Path]:
    """Fields below one of ours, at any depth, that we did not set."""
    asked = wanted.get(name)
    if not isinstance(asked, dict):
        return
    found = live.get(name) or {}
    for key in found:
        if key in asked:
            yield from _beyond(found, asked, key, (*root, name))
        else:
            yield (*root, name, key)


def _only_in(live: dict[str, Any], wanted: dict[str, Any], name: str) -> bool:
    return bool(live.get(name)) and name not in wanted


def _exempt(live: dict[str, Any], managers: Sequence[str]) -> set[tuple[str, str]]:
    """(list, entry name) of what the exempt managers own, by the server's own record."""
    found: set[tuple[str, str]] = set()
    for record in live["metadata"].get("managedFields", ()):
        if record.get("manager") not in managers:
            continue
        pod = _at(record.get("fieldsV1", {}), ("f:spec", "f:template", "f:spec"))
        for name in _POD_LISTS:
            for key in pod.get(f"f:{name}", {}):
                if key.startswith('k:{"name":"'):
                    found.add((name, key.removeprefix('k:{"name":"').removesuffix('"}')))
    return found


def _key(entry: dict[str, Any], keys: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(entry.get(key) for key in keys)


def _at(document: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    for part in path:
        document = document.get(part, {})
    return document


def _pointer(path: Path) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
