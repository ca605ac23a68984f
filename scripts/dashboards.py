"""Write the Grafana dashboards of the chart, operator.json and rankings.json: panels are lines here, not pages of JSON.

python scripts/dashboards.py FOLDER
"""

from __future__ import annotations

import json
import sys
from itertools import count
from pathlib import Path
from string import ascii_uppercase
from typing import Final

from grafana_foundation_sdk.builders import common, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.common import (
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

Query = tuple[str, str]
"""An expression, and the legend of its series."""

SOURCE: Final = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTH: Final = 24
"""Of Grafana's grid."""
GOOD, WARN, BAD = "green", "orange", "red"

OPERATOR: Final = 'job=~"$job"'
SERVICE: Final = 'job=~"$job", namespace=~"$namespace", name=~"$service"'
POD: Final = 'namespace=~"$namespace", service=~"$service"'
RANKED: Final = POD + ', route!~"/metrics|/v1/metrics|/v1/health/.*"'
NAMED: Final = RANKED + ', model=~"$model"'


def rate(metric: str, where: str, by: str = "") -> str:
    """Of a counter, a second, all series together but for the labels `by`."""
    return f"sum{f' by ({by}) ' if by else ''}(rate({metric}{{{where}}}[$__rate_interval]))"


def quantile(share: float, metric: str, where: str, by: str = "") -> str:
    """Of a histogram, by its name without `_bucket`."""
    return f"histogram_quantile({share:g}, {rate(f'{metric}_bucket', where, f'{by}, le' if by else 'le')})"


def mean(metric: str, where: str, by: str = "") -> str:
    """Of a histogram."""
    return f"{rate(f'{metric}_sum', where, by)} / {rate(f'{metric}_count', where, by)}"


def steps(*colours: tuple[float, str], first: str = GOOD) -> build.ThresholdsConfig:
    """Colours from these values on; `first` below the lowest."""
    lowest = model.Threshold(value=None, color=first)
    above = [model.Threshold(value=value, color=colour) for value, colour in colours]
    return build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps([lowest, *above])


def ask(expression: str, legend: str, *, instant: bool = False) -> prometheus.Dataquery:
    query = prometheus.Dataquery().expr(expression).legend_format(legend).datasource(SOURCE).ref_id("A")
    return query.instant().format(PromQueryFormat.TABLE) if instant else query.range()


def number(
    title: str, what: str, unit: str, expression: str, thresholds: build.ThresholdsConfig | None = None
) -> stat.Panel:
    """One number with its recent course; six of them fill a line."""
    shown = stat.Panel().title(title).description(what).unit(unit).datasource(SOURCE).height(4).span(WIDTH // 6)
    shown.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"])).thresholds(thresholds or steps())
    return shown.with_target(ask(expression, title))


def chart(
    title: str,
    what: str,
    unit: str,
    *queries: Query,
    stacked: bool = False,
    most: float | None = None,
    limit: float | None = None,
) -> timeseries.Panel:
    """Lines over time; three of them fill a line. `most` is the axis' end, `limit` what an alert warns of."""
    shown = timeseries.Panel().title(title).description(what).unit(unit).datasource(SOURCE).height(8).span(WIDTH // 3)
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    shown.legend(legend.show_legend(True)).tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    shown.min(0).line_width(1).fill_opacity(10).show_points(VisibilityMode.NEVER)
    if stacked:
        shown.stacking(common.StackingConfig().mode(StackingMode.NORMAL)).fill_opacity(40)
    if most is not None:
        shown.max(most)
    if limit is not None:
        shown.thresholds(steps((limit, BAD)))
        shown.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
    for letter, query in zip(ascii_uppercase, queries, strict=False):
        shown.with_target(ask(*query).ref_id(letter))
    return shown


def listing(title: str, what: str, expression: str, columns: dict[str, str]) -> table.Panel:
    """A table of the labels that the expression leaves, under these heads."""
    shown = table.Panel().title(title).description(what).datasource(SOURCE).height(8).span(WIDTH // 2)
    options = {
        "excludeByName": {"Time": True, "Value": True},
        "indexByName": {label: place for place, label in enumerate(columns)},
        "renameByName": columns,
    }
    shown.with_transformation(model.DataTransformerConfig(id_val="organize", options=options))
    return shown.no_value("none").with_target(ask(expression, "", instant=True))


def variable(name: str, label: str, query: str) -> build.QueryVariable:
    """Values of a label; All also stands for series without it."""
    asked = build.QueryVariable(name).label(label).query(query).datasource(SOURCE).multi(True)
    asked.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(model.VariableSort.ALPHABETICAL_ASC)
    everything = model.VariableOption(selected=True, text=["All"], value=["$__all"])
    return asked.include_all(True).all_value(".*").current(everything)


Line = tuple[str, list[stat.Panel | timeseries.Panel | table.Panel]]
"""A row's title, and its panels."""


def dashboard(
    uid: str, title: str, what: str, variables: list[build.QueryVariable], lines: list[Line]
) -> model.Dashboard:
    made = build.Dashboard(title).uid(uid).description(what).tags(["reranker"]).timezone("browser").refresh("30s")
    made.time("now-1h", "now").tooltip(model.DashboardCursorSync.CROSSHAIR).editable()
    others = build.DashboardLink("Reranker").type(model.DashboardLinkType.DASHBOARDS).tags(["reranker"])
    made.link(others.keep_time(True))
    made.with_variable(build.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    for each in variables:
        made.with_variable(each)
    numbers = count(1)
    for name, panels in lines:
        made.with_row(build.Row(name).id(next(numbers)))
        for panel in panels:
            made.with_panel(panel.id(next(numbers)))
    return made.build()


OPERATOR_LINES: Final[list[Line]] = [
    (
        "At a glance",
        [
            number(
                "Leaders",
                "Operators that hold the lease. 0: nothing is repaired, rolled out or scaled.",
                "short",
                f"sum(reranker_operator_leader{{{OPERATOR}}})",
                steps((1, GOOD), (2, WARN), first=BAD),
            ),
            number("Services", "RerankerServices that the leader looks after.", "short",
                   f"count(max by (namespace, name) (reranker_operator_service_ready{{{SERVICE}}})) or vector(0)"),
            number(
                "Not Ready",
                "Services whose condition Ready is not True; those that are paused are not counted.",
                "short",
                "count(max by (namespace, name) (reranker_operator_service_condition_unmet"
                f'{{{SERVICE}, type="Ready", reason!="Paused"}})) or vector(0)',
                steps((1, WARN)),
            ),
            number(
                "Stalled",
                "Services that will not go on by themselves.",
                "short",
                "count(max by (namespace, name) (reranker_operator_service_condition_unmet"
                f'{{{SERVICE}, type="Stalled"}})) or vector(0)',
                steps((1, BAD)),
            ),
            number("Queue", "Services that are due and not yet looked at.", "short",
                   f"sum(reranker_operator_queue_depth{{{OPERATOR}}})", steps((100, WARN))),
            number(
                "Certificate",
                "How long the certificate that runs out first is valid.",
                "s",
                f"min(reranker_operator_certificate_expiry_timestamp_seconds{{{SERVICE}}}) - time()",
                steps((2 * 86400, WARN), (14 * 86400, GOOD), first=BAD),
            ).no_value("none"),
        ],
    ),
    (
        "Services",
        [
            listing(
                "What is not well",
                "Each condition that is not as it is when all is well; docs/conditions.md says what to do.",
                "max by (namespace, name, type, status, reason)"
                f" (reranker_operator_service_condition_unmet{{{SERVICE}}})",
                {"namespace": "Namespace", "name": "Service", "type": "Condition", "status": "Status",
                 "reason": "Reason"},
            ),
            chart("Services by state", "Of all namespaces, by the reason of the condition Ready.", "short",
                  (f'sum by (reason) (reranker_operator_conditions{{{OPERATOR}, type="Ready"}})', "{{reason}}"),
                  stacked=True).span(WIDTH // 2),
            chart(
                "Time of a ranking",
                "Of the real ranking that the operator asks for through each Service, every five minutes.",
                "s",
                (f"max by (namespace, name) (reranker_operator_ranking_seconds{{{SERVICE}}})",
                 "{{namespace}}/{{name}}"),
                limit=2,
            ),
            chart("Wait in the queues", "Of services that are scaled by it: mean wait of a request in their pods.", "s",
                  (f"max by (namespace, name) (reranker_operator_queue_seconds{{{SERVICE}}})",
                   "{{namespace}}/{{name}}")),
            chart("Replicas by the queue", "Pods that services scaled by their queue are to have.", "short",
                  (f"max by (namespace, name) (reranker_operator_desired_replicas{{{SERVICE}}})",
                   "{{namespace}}/{{name}}")),
        ],
    ),
    (
        "Rounds",
        [
            chart("Rounds", "Looks at a service, each from its resource to its status.", "ops",
                  (rate("reranker_operator_reconcile_seconds_count", OPERATOR, "pod"), "{{pod}}")),
            chart(
                "Time of a round",
                "Long ones wait for the API server.",
                "s",
                (quantile(0.5, "reranker_operator_reconcile_seconds", OPERATOR), "half within"),
                (quantile(0.95, "reranker_operator_reconcile_seconds", OPERATOR), "95 % within"),
                (quantile(0.99, "reranker_operator_reconcile_seconds", OPERATOR), "99 % within"),
            ),
            chart("Failed rounds", "By kind of error; each is tried again. A Fault is the operator's own.", "ops",
                  (rate("reranker_operator_reconcile_errors_total", OPERATOR, "error"), "{{error}}"), stacked=True),
        ],
    ),
    (
        "API server",
        [
            chart("Requests by verb", "What the operator asks of the API server.", "reqps",
                  (rate("reranker_operator_api_calls_total", OPERATOR, "verb"), "{{verb}}"), stacked=True),
            chart("Requests by kind", "The same, by what they are about.", "reqps",
                  (rate("reranker_operator_api_calls_total", OPERATOR, "kind"), "{{kind}}"), stacked=True),
            chart("Refused or failed", "By status; 0 is no answer. 404 and 409 are normal now and then.", "reqps",
                  (rate("reranker_operator_api_calls_total", OPERATOR + ', status!~"2.."', "status"), "{{status}}"),
                  stacked=True),
        ],
    ),
    (
        "Operators",
        [
            listing("Versions", "Every operator that is scraped.",
                    f"max by (namespace, pod, instance, version) (reranker_operator_build_info{{{OPERATOR}}})",
                    {"namespace": "Namespace", "pod": "Pod", "instance": "Address", "version": "Version"}),
            chart("Who leads", "1 for the one that holds the lease.", "short",
                  (f"max by (pod) (reranker_operator_leader{{{OPERATOR}}})", "{{pod}}"),
                  most=1).span(WIDTH // 2),
        ],
    ),
]  # fmt: skip

FAILED: Final = NAMED + ', status=~"424|500|504"'
OVERLOAD: Final = POD + ', cause!~"not_ready|stopping"'
ERRORS: Final = f"{rate('reranker_requests_total', FAILED)} / ({rate('reranker_requests_total', NAMED)} > 0)"
REFUSED: Final = f"{rate('reranker_refused_total', OVERLOAD)} / ({rate('reranker_requests_total', RANKED)} > 0)"
PASSAGES: Final = rate("reranker_passages_total", POD)
TOKENS: Final = rate("reranker_tokens_total", POD)
TOKENS_BY_POD: Final = rate("reranker_tokens_total", POD, "pod")
MEMORY: Final = f"sum by (pod, device) (reranker_device_memory_bytes{{{POD}}})"
OURS: Final = f"reranker_ready{{{POD}}}"
"""Every program in the cluster has metrics named process_*."""

RANKING_LINES: Final[list[Line]] = [
    (
        "At a glance",
        [
            number("Ready pods", "Pods that have scored a warm-up ranking and do not stop.", "short",
                   f"sum(reranker_ready{{{POD}}})", steps((1, GOOD), first=BAD)),
            number("Requests", "Answers a second, probes left out.", "reqps", rate("reranker_requests_total", NAMED)),
            number("Errors", "Share of the answers that are 500 (424 in TEI's API) or 504.", "percentunit",
                   f"({ERRORS}) or vector(0)", steps((0.001, WARN), (0.01, BAD))),
            number("Refused", "Share of the requests answered 503 because too much is asked for.", "percentunit",
                   f"({REFUSED}) or vector(0)", steps((0.001, WARN), (0.01, BAD))),
            number("99 % within", "From a request's headers to its answer.", "s",
                   quantile(0.99, "reranker_request_seconds", RANKED), steps((1, WARN), (5, BAD))),
            number("Busy", "Tokens asked for by those that the pods can score, as measured: near 1 it can do no more.",
                   "percentunit",
                   f"{rate('reranker_tokens_total', POD)} / (sum(reranker_tokens_per_second{{{POD}}}) > 0)",
                   steps((0.7, WARN), (0.9, BAD))),
        ],
    ),
    (
        "Requests",
        [
            chart("Answers by status", "499: the caller hung up. 503: see Refused by cause.", "reqps",
                  (rate("reranker_requests_total", NAMED, "status"), "{{status}}"), stacked=True),
            chart("Answers by route and model", "The model is empty where a request named none that is known.", "reqps",
                  (rate("reranker_requests_total", NAMED, "route, model"), "{{route}} {{model}}"), stacked=True),
            chart("Answers by client", "By the name of the key; empty where none is asked for.", "reqps",
                  (rate("reranker_requests_total", NAMED, "client"), "{{client}}"), stacked=True),
            chart("Passages", "Ranked a second, by service.", "ops",
                  (rate("reranker_passages_total", POD, "namespace, service"), "{{namespace}}/{{service}}")),
            chart("Tokens", "Ranked a second, as asked for, beside what all pods could score, as measured.", "short",
                  (rate("reranker_tokens_total", POD), "asked for"),
                  (f"sum(reranker_tokens_per_second{{{POD}}})", "possible")),
            chart("Passages in a request", "Near RERANKER_MAX_PASSAGES: raise it, or split large requests.", "short",
                  (quantile(0.5, "reranker_request_passages", POD), "half up to"),
                  (quantile(0.95, "reranker_request_passages", POD), "95 % up to")),
        ],
    ),
    (
        "Time",
        [
            chart(
                "Time of an answer",
                "From a request's headers to its answer, slow bodies included.",
                "s",
                (quantile(0.5, "reranker_request_seconds", RANKED), "half within"),
                (quantile(0.95, "reranker_request_seconds", RANKED), "95 % within"),
                (quantile(0.99, "reranker_request_seconds", RANKED), "99 % within"),
                limit=5,
            ),
            chart(
                "Where it goes",
                "Means of the stages: waiting says more replicas, scoring a smaller model or shorter passages.",
                "s",
                (mean("reranker_tokenise_seconds", POD), "tokenise"),
                (mean("reranker_queue_seconds", POD), "wait"),
                (mean("reranker_score_seconds", POD), "score"),
                stacked=True,
            ),
            chart("Wait", "From tokenised to started: 95 % are within it.", "s",
                  (quantile(0.95, "reranker_queue_seconds", POD, "namespace, service"), "{{namespace}}/{{service}}"),
                  limit=1),
        ],
    ),
    (
        "Load",
        [
            chart("Waiting requests", "Not yet started, by pod.", "short",
                  (f"sum by (pod) (reranker_queue_requests{{{POD}}})", "{{pod}}")),
            chart("Waiting tokens", "Not yet taken by a worker, by pod.", "short",
                  (f"sum by (pod) (reranker_queue_tokens{{{POD}}})", "{{pod}}")),
            chart("Estimated wait", "What a request would wait now that goes last, by pod.", "s",
                  (f"max by (pod) (reranker_estimated_wait_seconds{{{POD}}})", "{{pod}}")),
            chart("Busy", "Tokens asked for by those that a pod can score, as measured.", "percentunit",
                  (f"{TOKENS_BY_POD} / (sum by (pod) (reranker_tokens_per_second{{{POD}}}) > 0)", "{{pod}}")),
            chart("Batches", "How full they are: near 1 under load is good; low is idleness, or short requests.",
                  "percentunit", (mean("reranker_batch_fill_ratio", POD), "tokens by those that a batch may have"),
                  most=1),
            chart("Sequences in a batch", "1 all the time: requests come singly, and a larger budget gains nothing.",
                  "short", (mean("reranker_batch_rows", POD), "mean")),
        ],
    ),
    (
        "Refused and dropped",
        [
            chart("Refused by cause", "503. docs/operations.md#overload says what to do about each cause.", "reqps",
                  (rate("reranker_refused_total", POD, "cause"), "{{cause}}"), stacked=True),
            chart("Dropped connections", "Ended because of their peer, by cause.", "ops",
                  (rate("reranker_dropped_connections_total", POD, "port, cause"), "{{port}}: {{cause}}"),
                  stacked=True),
            chart("Open connections", "By port and pod.", "short",
                  (f"sum by (pod, port) (reranker_connections{{{POD}}})", "{{port}}: {{pod}}")),
        ],
    ),
    (
        "Texts",
        [
            chart("Cut passages", "Share of those that are longer than the model reads; emptied: nothing was kept.",
                  "percentunit",
                  (f"{rate('reranker_truncated_passages_total', POD)} / {PASSAGES}", "cut"),
                  (f"{rate('reranker_emptied_passages_total', POD)} / {PASSAGES}", "emptied"), limit=0.2),
            chart("Length", "Tokens by passages, the query's included.", "short",
                  (f"{TOKENS} / {PASSAGES}", "tokens a passage")),
            chart("Chunks", "That long documents are read in, by passages.", "short",
                  (f"{rate('reranker_chunks_total', POD)} / {PASSAGES}", "chunks a passage")),
            chart("Equal passages", "Share of the passages, or chunks, that equal another in their request: free.",
                  "percentunit", (f"{rate('reranker_duplicate_passages_total', POD)} / {PASSAGES}", "equal")),
            chart("Shared tokens", "Share of the tokens that are not computed because rows of a request begin alike.",
                  "percentunit", (f"{rate('reranker_prefix_tokens_saved_total', POD)} / {TOKENS}", "shared")),
            chart("Characters",
                  "Tokenised, by tokens ranked: much above 5 is long texts of which little or nothing is read.",
                  "short", (f"{rate('reranker_tokenised_characters_total', POD)} / {TOKENS}", "characters a token")),
        ],
    ),
    (
        "Pods",
        [
            chart("GPU memory", "In use on each GPU, whoever uses it, by what it has.", "percentunit",
                  (f"{MEMORY} / {MEMORY.replace('memory_bytes', 'memory_size_bytes')}", "{{device}} {{pod}}"),
                  most=1, limit=0.95).no_value("no GPU"),
            chart("Memory", "Resident memory of each pod, beside the bodies that it holds.", "bytes",
                  (f"sum by (pod) (process_resident_memory_bytes{{{POD}}} and {OURS})", "resident {{pod}}"),
                  (f"sum by (pod) (reranker_request_bytes{{{POD}}})", "bodies {{pod}}")),
            chart("CPU", "Cores in use, by pod.", "short",
                  (f"sum by (pod) (rate(process_cpu_seconds_total{{{POD}}}[$__rate_interval]) and {OURS})",
                   "{{pod}}")),
            listing("What runs", "Replicas that differ in version, number type or device differ in scores.",
                    "max by (namespace, service, pod, instance, version, torch, device, dtype)"
                    f" (reranker_build_info{{{POD}}})",
                    {"namespace": "Namespace", "service": "Service", "pod": "Pod", "instance": "Address",
                     "version": "Version", "torch": "Torch", "device": "Device", "dtype": "Numbers"}),
            chart("Failed renewals", "Changed keys or certificates that cannot be used; the old stay in force.",
                  "short", (f"sum by (pod, what) (increase(reranker_reload_failures_total{{{POD}}}[1h]))",
                   "{{what}} {{pod}}")).span(WIDTH // 2),
        ],
    ),
]  # fmt: skip

DASHBOARDS: Final = {
    "operator.json": dashboard(
        "reranker-operator",
        "Reranker operator",
        "The operator, and every RerankerService that it looks after.",
        [
            variable("job", "Operator", "label_values(reranker_operator_build_info, job)"),
            variable("namespace", "Namespace",
                     'label_values(reranker_operator_service_ready{job=~"$job"}, namespace)'),
            variable("service", "Service",
                     'label_values(reranker_operator_service_ready{job=~"$job", namespace=~"$namespace"}, name)'),
        ],
        OPERATOR_LINES,
    ),
    "rankings.json": dashboard(
        "reranker-rankings",
        "Reranker rankings",
        "What the ranking pods of RerankerServices do, from the metrics that spec.monitoring has scraped.",
        [
            variable("namespace", "Namespace", "label_values(reranker_ready, namespace)"),
            variable("service", "Service", 'label_values(reranker_ready{namespace=~"$namespace"}, service)'),
            variable("model", "Model", f'label_values(reranker_requests_total{{{POD}, model!=""}}, model)'),
        ],
        RANKING_LINES,
    ),
}  # fmt: skip


def write(folder: Path) -> None:
    for name, made in DASHBOARDS.items():
        text = json.dumps(made, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False)
        (folder / name).write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    if len(sys.argv) != len(["dashboards.py", "FOLDER"]) or not Path(sys.argv[1]).is_dir():
        sys.exit(f"{' '.join(sys.argv)}: one argument is needed, the folder to write into, which must exist")
    write(Path(sys.argv[1]))
