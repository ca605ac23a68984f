"""The chart's alerts: what they ask for exists, each is tried by promtool, and each leads to its runbook."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from localkube.prometheus import PrometheusUnavailableError, tool
from observability import DASHBOARDS, RULE_FILES, alerts, asked, panels, queries
from reranker_operator.api import RerankerService
from reranker_operator.desired.monitoring import service_monitor
from reranker_operator.metrics import Metrics as OperatorMetrics
from reranker_runtime.metrics import Metrics as RuntimeMetrics

TRIALS = sorted((Path(__file__).parents[1] / "alerts").glob("*.yaml"))
"""Tests in promtool's own language: series in, alerts out."""
TARGET = {"namespace", "service", "pod", "instance", "job"}
"""Labels that the scrape gives every series."""
SUFFIXES = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
PARTS = {"RerankerOperatorDown"}
"""Alerts about what is not there, which have no label to name it by."""


@pytest.fixture
def promtool() -> Path:
    """Prometheus' own checker. Without it these tests are skipped, and the run's last lines say so; in CI they fail."""
    try:
        return tool("promtool")
    except PrometheusUnavailableError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"the alerts cannot be tried: {error}")
        pytest.skip(f"the alerts were not tried: {error}")


@pytest.fixture(scope="module")
def exposed() -> dict[str, set[str]]:
    """The labels of every series that the operator or the runtime can expose, by its name."""
    found = dict[str, set[str]]()
    for metrics in (OperatorMetrics(), RuntimeMetrics()):
        for metric in vars(metrics).values():
            if isinstance(metric, MetricWrapperBase):
                (family,) = metric.describe()
                name = family.name + "_total" * (family.type == "counter")
                for suffix in SUFFIXES[family.type]:
                    found[name + suffix] = {*metric._labelnames, *(["le"] if suffix == "_bucket" else [])}
        for family in metrics.registry.collect():  # those of the process, and of what has no attribute
            for sample in family.samples:
                found.setdefault(sample.name, set(sample.labels))
    return found


@pytest.mark.parametrize("where", queries())
def test_every_metric_and_label_that_is_asked_for_exists(where: str, exposed: dict[str, set[str]]) -> None:
    expression = asked(queries()[where])
    known = set(TARGET)
    for metric, labels in expression.metrics:
        assert metric in exposed, f"nothing exposes {metric}"
        assert labels <= exposed[metric] | TARGET, f"{metric} has no such label"
        known |= exposed[metric]
    assert expression.metrics
    assert expression.grouped <= known


def test_the_queries_of_the_guide_find_what_its_service_monitor_labels(
    root: Path, exposed: dict[str, set[str]]
) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (root / "docs/guides/scale.md").read_text(), re.DOTALL)
    documents = {
        (each["kind"], each["metadata"]["name"]): each for block in blocks for each in yaml.safe_load_all(block)
    }
    ((_, scaled), scaler), *others = [entry for entry in documents.items() if entry[0][0] == "ScaledObject"]
    monitor = service_monitor(RerankerService.parse(documents["RerankerService", scaled]))
    assert monitor is not None
    (endpoint,) = monitor["spec"]["endpoints"]
    (given,) = endpoint["relabelings"]
    label = f'{given["targetLabel"]}="{given["replacement"]}"'
    assert len(scaler["spec"]["triggers"]) == 2
    assert not others
    for trigger in scaler["spec"]["triggers"]:
        query = trigger["metadata"]["query"]
        metrics = {metric for metric, _labels in asked(query).metrics}
        assert len(metrics) == 2
        assert metrics <= exposed.keys()
        selectors = re.findall(r"(\w+)\{(.*?)\}", query)
        assert {metric for metric, _ in selectors} == metrics
        assert {matchers for _, matchers in selectors} == {label}


@pytest.mark.parametrize("name", alerts())
def test_an_alert_says_how_bad_it_is_what_it_is_about_and_where_to_read_on(name: str, root: Path) -> None:
    rule = alerts()[name]
    notes = rule["annotations"]
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert notes["runbook_url"] == f"docs/runbooks.md#{name.lower()}"
    assert notes["summary"].endswith(".")
    assert len(notes["summary"]) < 160
    grouped = asked(rule["expr"]).grouped
    shown = set(re.findall(r"\$labels\.(\w+)", notes["summary"] + notes["description"]))
    if name not in PARTS:
        assert shown, "it names nothing"
    if grouped:
        assert shown <= grouped, "an aggregation has taken the label away"


def test_every_alert_has_a_runbook_and_every_runbook_an_alert(root: Path) -> None:
    headings = re.findall(r"^### (Reranker\w+)$", (root / "docs/runbooks.md").read_text(), re.MULTILINE)
    assert headings == list(alerts())


def test_prometheus_takes_the_rules(promtool: Path) -> None:
    checked = subprocess.run([promtool, "check", "rules", *RULE_FILES], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("trials", TRIALS, ids=lambda file: file.stem)
def test_alerts_fire_when_they_should_and_are_silent_when_not(trials: Path, promtool: Path) -> None:
    tried = subprocess.run([promtool, "test", "rules", trials], capture_output=True, text=True)
    assert tried.returncode == 0, tried.stdout + tried.stderr


def test_every_alert_is_tried_both_ways() -> None:
    fires, silent = set[str](), set[str]()
    for file in TRIALS:
        for trial in yaml.safe_load(file.read_text())["tests"]:
            for each in trial["promql_expr_test"]:
                (name,) = re.findall(r'^ALERTS\{alertname="(\w+)", alertstate="firing"\}$', each["expr"])
                (fires if each["exp_samples"] else silent).add(name)
    assert fires == silent == set(alerts())


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_prometheus_takes_every_query_of_a_dashboard(file: Path, promtool: Path, tmp_path: Path) -> None:
    own = [text for where, text in queries().items() if where.startswith(file.name)]
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(own)]
    written = tmp_path / "rules.yaml"
    written.write_text(yaml.safe_dump({"groups": [{"name": file.stem, "rules": rules}]}))
    checked = subprocess.run([promtool, "check", "rules", written], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(own)} rules found" in checked.stdout


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_panels_say_what_they_show_and_do_not_overlap(file: Path) -> None:
    places = dict[tuple[int, int], str]()
    for panel in panels(file):
        assert panel["description"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["type"] == "table" or panel["fieldConfig"]["defaults"]["unit"]
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])
        for place in _cells(panel["gridPos"]):
            assert place[0] < 24
            assert places.setdefault(place, panel["title"]) == panel["title"]


def _cells(place: dict[str, Any]) -> list[tuple[int, int]]:
    return [
        (x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])
    ]
