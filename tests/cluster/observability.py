"""What the chart's alerts and dashboards ask of Prometheus, as the tests read them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import yaml

FILES = Path(__file__).parents[2] / "charts/reranker-operator/files"
RULE_FILES = sorted(FILES.glob("alerts/*.yaml"))
DASHBOARDS = sorted(FILES.glob("dashboards/*.json"))
GRAFANA = {"$__rate_interval": "1m", "$job": ".*", "$namespace": ".*", "$service": ".*", "$model": ".*"}
"""What Grafana would put in the place of its variables, with All chosen."""

Json = dict[str, Any]


def alerts() -> dict[str, Json]:
    """Each alert's rule by its name."""
    groups = [group for file in RULE_FILES for group in yaml.safe_load(file.read_text())["groups"]]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def panels(file: Path) -> list[Json]:
    """The panels of a dashboard, rows left out."""
    return [panel for panel in json.loads(file.read_text())["panels"] if panel["type"] != "row"]


def plain(expression: str) -> str:
    """An expression without Grafana's variables."""
    for variable, value in GRAFANA.items():
        expression = expression.replace(variable, value)
    return expression


def queries() -> dict[str, str]:
    """Every expression of an alert or a panel, by where it stands; Grafana's variables are filled in."""
    found = {f"alert {name}": str(rule["expr"]) for name, rule in alerts().items()}
    for file in DASHBOARDS:
        for panel in panels(file):
            for target in panel["targets"]:
                found[f"{file.name} {panel['id']}{target['refId']}: {panel['title']}"] = plain(target["expr"])
    return found


@dataclass(frozen=True)
class Asked:
    """What an expression asks for: metrics with the labels that it matches, and the labels that it groups by."""

    metrics: frozenset[tuple[str, frozenset[str]]]
    grouped: frozenset[str]


def asked(expression: str) -> Asked:
    """Read an expression; raises ValueError where it is no PromQL."""
    metrics, grouped = set[tuple[str, frozenset[str]]](), set[str]()
    for node in _nodes(promql_parser.parse(expression)):
        if isinstance(node, promql_parser.VectorSelector):
            metrics.add((node.name or "", frozenset(each.name for each in node.matchers.matchers)))
        elif isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            grouped.update(node.modifier.labels)
    return Asked(frozenset(metrics), frozenset(grouped))


def _nodes(expression: Any) -> Iterator[Any]:
    found = list[Any]()
    promql_parser.walk(expression, found.append)
    for node in found:
        yield node.vector_selector if isinstance(node, promql_parser.MatrixSelector) else node
