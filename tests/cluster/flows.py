"""Network policies judged as a network plugin judges them."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Peer:
    """Who connects: a pod by its labels and its namespace's, or an address."""

    labels: dict[str, str] = field(default_factory=dict)
    namespace: str = "search"
    namespace_labels: dict[str, str] = field(default_factory=dict)
    address: str | None = None


def selected(selector: dict[str, Any] | None, labels: dict[str, str]) -> bool:
    if selector is None:
        return False
    exact = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    judges = {
        "In": lambda each: labels.get(each["key"]) in each["values"],
        "NotIn": lambda each: labels.get(each["key"]) not in each["values"],
        "Exists": lambda each: each["key"] in labels,
        "DoesNotExist": lambda each: each["key"] not in labels,
    }
    return exact and all(judges[each["operator"]](each) for each in selector.get("matchExpressions", ()))


def matches(rule: dict[str, Any], peer: Peer, own_namespace: str) -> bool:
    """One entry of `from`: both selectors must hold where both are given."""
    if "ipBlock" in rule:
        block = rule["ipBlock"]
        if peer.address is None:
            return False
        address = ipaddress.ip_address(peer.address)
        inside = address in ipaddress.ip_network(block["cidr"])
        return inside and not any(address in ipaddress.ip_network(each) for each in block.get("except", ()))
    if peer.address is not None:
        return False
    labels = {"kubernetes.io/metadata.name": peer.namespace, **peer.namespace_labels}
    if "namespaceSelector" in rule:
        if not selected(rule["namespaceSelector"], labels):
            return False
    elif peer.namespace != own_namespace:
        return False
    return "podSelector" not in rule or selected(rule["podSelector"], peer.labels)
