"""What `diagnose` reads beyond the spec, and what it says of what it does not read."""

import asyncio
from dataclasses import replace
from typing import Any

from gathering import gathered

from reranker_operator.diagnose import gather
from reranker_operator.diagnose.gather import Named
from reranker_operator.diagnose.reader import Answer
from reranker_operator.diagnose.redact import Redactor
from reranker_operator.diagnose.report import report
from reranker_operator.kube import Kind
from reranker_operator.reconcile.references import Reference


class Reader:
    """Answers with an object of every name, and remembers which were asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Answer[dict[str, Any]]:
        self.asked.append(name)
        return Answer({"kind": kind.title, "metadata": {"name": name, "namespace": namespace}, "data": {"key": ""}})


def test_secrets_beyond_those_that_are_read_are_told() -> None:
    variables = [{"valueFrom": {"secretKeyRef": {"name": f"s{number:03}"}}} for number in range(250)]
    found, reader = gathered(env=variables), Reader()
    found = replace(found, secrets=asyncio.run(gather._secrets(reader, found)))  # type: ignore[arg-type]
    assert reader.asked == [f"s{number:03}" for number in range(200)]
    text = " ".join(report(found, Redactor([])).split())
    assert "s218, s219 and 30 more may still stand there: at most 200 Secrets are read." in text
    assert "s249 a pod, or an optional reference unknown: not read: more than 200 Secrets are named" in text


def test_a_secret_that_a_colour_divides_is_found() -> None:
    found = gathered(text="hf_abc\x1b[0mdefghij")
    assert "hf_abcdefghij" not in report(found, Redactor(["hf_abcdefghij"]))


def test_certificates_of_the_operators_default_proxy_are_looked_up() -> None:
    volumes = [{"name": "ca", "configMap": {"name": "company"}}, {"name": "own", "configMap": {"name": "own"}}]
    job = {"kind": "Job", "spec": {"template": {"spec": {"volumes": volumes}}}}
    found, reader = replace(gathered(), children={"Job": Answer([job])}), Reader()
    (named,) = asyncio.run(gather._authorities(reader, found))  # type: ignore[arg-type]
    assert (named.reference.kind, named.reference.name) == ("ConfigMap", "company")
    assert named.reference.field == "the operator's default of spec.proxy.caConfigMap"
    said = Named(Reference("ConfigMap", "company", "spec.proxy.caConfigMap"), Answer())
    once = replace(found, named=Answer([said]))
    assert asyncio.run(gather._authorities(reader, once)) == []  # type: ignore[arg-type]
