"""Works out a container's variables, command and arguments, as the kubelet does."""

import base64
import math
import re
from collections.abc import Mapping
from typing import Any

from localkube.api import Json
from localkube.host import ConfigError, Host

_REFERENCE = re.compile(r"\$(\$|\(([A-Za-z0-9_.\-]+)\))")
_FACTORS = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_FACTORS |= {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Put variables in for `$(NAME)`; unknown names stay as they are, `$$` means `$`."""

    def replacement(match: re.Match[str]) -> str:
        return "$" if match[1] == "$" else variables.get(match[2], match[0])

    return _REFERENCE.sub(replacement, text)


def quantity(text: str | float) -> float:
    """The number that a Kubernetes quantity such as `500m` or `2Gi` means."""
    match = re.fullmatch(r"([0-9.eE+-]+?)([A-Za-z]*)", str(text))
    if not match or match[2] not in _FACTORS:
        raise ConfigError(f"{text!r} is no quantity")
    return float(match[1]) * _FACTORS[match[2]]


async def variables(host: Host, pod: Json, container: Json, base: Mapping[str, str]) -> dict[str, str]:
    """All variables of a container, those of its image (`base`) included. Raises ConfigError."""
    namespace = pod["metadata"]["namespace"]
    result = dict(base)
    if pod["spec"].get("enableServiceLinks", True):
        result |= service_links(await host.services(namespace))
    for source in container.get("envFrom", []):
        prefix = source.get("prefix", "")
        if "secretRef" in source:
            data = await secret_data(host, namespace, source["secretRef"])
            found = {key: value.decode(errors="replace") for key, value in data.items()}
        else:
            data = await config_data(host, namespace, source["configMapRef"])
            found = {key: value.decode(errors="replace") for key, value in data.items()}
        result |= {f"{prefix}{key}": value for key, value in found.items()}
    for entry in container.get("env", []):
        if "valueFrom" in entry:
            value = await _value_from(host, pod, container, entry["valueFrom"])
            if value is not None:
                result[entry["name"]] = value
        else:
            result[entry["name"]] = expand(entry.get("value", ""), result)
    return result


def command(container: Json, entrypoint: list[str], values: Mapping[str, str]) -> list[str]:
    """The program and its arguments: `command` takes the entrypoint's place. Raises ConfigError."""
    program = container.get("command") or entrypoint
    line = [expand(part, values) for part in [*program, *container.get("args", [])]]
    if not line:
        raise ConfigError("no command specified, and the image has no entrypoint")
    return line


def service_links(services: list[Json]) -> dict[str, str]:
    """The variables by which a pod finds the Services of its namespace."""
    result: dict[str, str] = {}
    for service in services:
        address = service["spec"].get("clusterIP")
        if not address or address == "None":
            continue
        name = service["metadata"]["name"].upper().replace("-", "_")
        ports = service["spec"]["ports"]
        result[f"{name}_SERVICE_HOST"] = address
        result[f"{name}_SERVICE_PORT"] = str(ports[0]["port"])
        first = f"tcp://{address}:{ports[0]['port']}"
        result[f"{name}_PORT"] = first
        for port in ports:
            if port.get("name"):
                result[f"{name}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
            key = f"{name}_PORT_{port['port']}_{port.get('protocol', 'TCP')}"
            result |= {key: f"tcp://{address}:{port['port']}", f"{key}_PROTO": "tcp"}
            result |= {f"{key}_PORT": str(port["port"]), f"{key}_ADDR": address}
    return result


async def secret_data(host: Host, namespace: str, reference: Json) -> dict[str, bytes]:
    """A Secret's content; of a missing optional one nothing. `reference` has name and optional."""
    secret = await host.secret(namespace, reference["name"])
    if secret is None:
        if reference.get("optional"):
            return {}
        raise ConfigError(f'secret "{reference["name"]}" not found')
    return {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}


async def config_data(host: Host, namespace: str, reference: Json) -> dict[str, bytes]:
    """A ConfigMap's content; of a missing optional one nothing."""
    config = await host.config_map(namespace, reference["name"])
    if config is None:
        if reference.get("optional"):
            return {}
        raise ConfigError(f'configmap "{reference["name"]}" not found')
    text = {key: value.encode() for key, value in (config.get("data") or {}).items()}
    return text | {key: base64.b64decode(value) for key, value in (config.get("binaryData") or {}).items()}


async def _value_from(host: Host, pod: Json, container: Json, source: Json) -> str | None:
    namespace = pod["metadata"]["namespace"]
    if "fieldRef" in source:
        return field_value(pod, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        return resource_value(container, source["resourceFieldRef"])
    if "secretKeyRef" in source:
        reference, kind = source["secretKeyRef"], "Secret"
        data = await secret_data(host, namespace, reference)
    elif "configMapKeyRef" in source:
        reference, kind = source["configMapKeyRef"], "ConfigMap"
        data = await config_data(host, namespace, reference)
    else:
        raise ConfigError(f"this kubelet does not know the source of a variable {sorted(source)}")
    if reference["key"] in data:
        return data[reference["key"]].decode(errors="replace")
    if reference.get("optional"):
        return None
    raise ConfigError(f"couldn't find key {reference['key']} in {kind} {namespace}/{reference['name']}")


def field_value(pod: Json, path: str) -> str:
    """What the downward API gives for a field path."""
    found = re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path)
    if found:
        return str((pod["metadata"].get(found[1]) or {}).get(found[2], ""))
    if path in {"metadata.labels", "metadata.annotations"}:
        entries = pod["metadata"].get(path.removeprefix("metadata.")) or {}
        return "\n".join(f'{key}="{value}"' for key, value in sorted(entries.items()))
    if path in {"status.podIPs", "status.hostIPs"}:
        path = path.removesuffix("s")
    value: Any = pod
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return str(value)


def resource_value(container: Json, reference: Json) -> str:
    """What the downward API gives for `limits.cpu` and its like."""
    group, _, name = reference["resource"].partition(".")
    amount = (container.get("resources") or {}).get(group, {}).get(name, "0")
    divisor = quantity(reference.get("divisor") or 1) or 1
    return str(math.ceil(quantity(amount) / divisor))
