"""NetworkPolicies judged as a network plugin judges them: named flows, allowed or not."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from flows import Peer, matches

OUTPUTS = Path(__file__).parent.parent / "golden/output"
PORTS = {"api": 8000, "internal": 8002}


def allowed(name: str, peer: Peer, port: int) -> bool:
    documents = yaml.safe_load_all((OUTPUTS / f"{name}.yaml").read_text())
    policy = next(each for each in documents if each["kind"] == "NetworkPolicy")
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    return any(
        any(PORTS[each["port"]] == port and each["protocol"] == "TCP" for each in rule["ports"])
        and any(matches(each, peer, policy["metadata"]["namespace"]) for each in rule["from"])
        for rule in policy["spec"]["ingress"]
    )


OPERATOR = Peer({"app.kubernetes.io/name": "reranker-operator"}, "reranker-system")
FLOWS = [
    ("everything", "a pod of the team", Peer({"app": "search"}), True, False),
    ("everything", "the same label elsewhere", Peer({"app": "search"}, "other"), False, False),
    ("everything", "any pod of a team's namespace", Peer({}, "chat", {"team": "chat"}), True, False),
    ("everything", "a namespace of no team", Peer({}, "shop", {"team": "shop"}), False, False),
    ("everything", "another pod of the namespace", Peer({"app": "cron"}), False, False),
    ("everything", "an address inside", Peer(address="10.2.3.4"), True, False),
    ("everything", "an address that is left out", Peer(address="10.1.3.4"), False, False),
    ("everything", "an address outside", Peer(address="192.0.2.1"), False, False),
    ("everything", "monitoring", Peer({"app": "prometheus"}, "monitoring"), False, True),
    ("everything", "the operator", OPERATOR, True, True),
    ("everything", "a pod that says it is the operator", Peer(OPERATOR.labels, "search"), False, False),
    ("exposed", "any pod of the cluster", Peer({}, "anywhere"), True, False),
    ("exposed", "an address outside", Peer(address="192.0.2.1"), False, False),
    ("exposed", "the operator", OPERATOR, True, True),
]


@pytest.mark.parametrize(("name", "who", "peer", "api", "internal"), FLOWS, ids=[f"{f[0]}: {f[1]}" for f in FLOWS])
def test_who_may_connect_to_what(name: str, who: str, peer: Peer, api: bool, internal: bool) -> None:
    assert allowed(name, peer, PORTS["api"]) is api
    assert allowed(name, peer, PORTS["internal"]) is internal
    assert not allowed(name, peer, 22)
