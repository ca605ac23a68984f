"""Print docs/operations.md with its tables made anew from the code: every metric, every setting, none forgotten.

python scripts/operations_page.py           what the page should be
python scripts/operations_page.py --write   and makes it so

The prose is edited in the page itself; what stands between the marks is not.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from pydantic.fields import FieldInfo

from reranker_operator.metrics import Metrics as OperatorMetrics
from reranker_runtime.metrics import Metrics
from reranker_runtime.settings import Env, Settings

PAGE: Final = Path(__file__).parents[1] / "docs/operations.md"
MARKED: Final = re.compile(r"(<!-- begin (\w+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)

MOST_PORT: Final = 65535
"""Numbers above this one are read more easily in groups of three."""

ADVICE: Final = {
    "reranker_ready": "0 for longer than a model takes to load: `/v1/health/ready` says why",
    "reranker_build_info": "join it to others by `instance`; several versions for long: a rollout is stuck",
    "reranker_requests_total": "rates of answers and of errors; see [statuses](#statuses)",
    "reranker_request_seconds": "what callers wait, slow bodies included; look at the stages below for where",
    "reranker_refused_total": "by `cause`, see [overload](#overload)",
    "reranker_running_requests": "the load; the running ones are finished at a stop",
    "reranker_request_bytes": "near `RERANKER_MAX_WAITING_BYTES`: callers send much at once, or slowly",
    "reranker_passages_total": "the rate is the work asked for; by requests: passages of one",
    "reranker_request_passages": "near `RERANKER_MAX_PASSAGES`: raise it, or let large requests be split",
    "reranker_tokens_total": "by passages: how long they are; the rate against `reranker_tokens_per_second`: how busy",
    "reranker_tokenised_characters_total": "far ahead of the tokens: long texts of which little is read, or given up",
    "reranker_truncated_passages_total": "many: longer than the model reads; send shorter ones, or ask for chunks",
    "reranker_emptied_passages_total": "any: queries as long as the limit; their ranking means nothing",
    "reranker_chunks_total": "by passages: what long documents cost",
    "reranker_duplicate_passages_total": "many: whoever retrieves finds the same thing twice",
    "reranker_prefix_tokens_saved_total": "0 for a causal model: requests of one passage share nothing",
    "reranker_queue_requests": "grows: more is asked for than is scored; add replicas",
    "reranker_queue_tokens": "the same in tokens, which is what scoring costs",
    "reranker_estimated_wait_seconds": "rises before anybody is refused, and at one large request, too",
    "reranker_queue_seconds": "long beside short scoring: too few replicas",
    "reranker_tokens_per_second": "falls: the CPU is shared or throttled, or the GPU is",
    "reranker_tokenise_seconds": "long beside short scoring: raise `NIM_NUM_TOKENIZERS`, give more CPU",
    "reranker_score_seconds": "the model's own time; batches of others count, too",
    "reranker_batch_seconds": "near a request's time limit: lower `RERANKER_BATCH_TOKENS`",
    "reranker_batch_rows": "1 all the time: requests come singly, and a larger budget gains nothing",
    "reranker_batch_tokens": "near the budget: the device is used well",
    "reranker_batch_fill_ratio": "near 1 under load is good; low is idleness, or many short requests",
    "reranker_device_memory_bytes": "whoever uses it; near the size: another process is on it",
    "reranker_device_memory_size_bytes": "what the memory in use is measured against",
    "reranker_connections": "near `RERANKER_MAX_CONNECTIONS`: callers should keep fewer, or raise it",
    "reranker_dropped_connections_total": "by `cause`, see [connections](#connections)",
    "reranker_reload_failures_total": "any: the log says which file and why; the old keys or certificate stay in force",
}
"""What to make of each metric, in the order of the page."""

OPERATOR_ADVICE: Final = {
    "reranker_operator_build_info": "several versions for long: an upgrade is stuck",
    "reranker_operator_leader": "their sum is 1; 0 for minutes: nothing is repaired, rolled out or scaled",
    "reranker_operator_queue_depth": "goes back to 0; if not, rounds are slow or fail",
    "reranker_operator_reconcile_seconds": "long rounds wait for the API server",
    "reranker_operator_reconcile_errors_total": "again and again: the log names the services; `Fault` is its own",
    "reranker_operator_api_calls_total": "the load on the API server; 5xx, 429 and 0 are its failures",
    "reranker_operator_conditions": "how many services are in which state ([conditions](conditions.md))",
    "reranker_operator_service_ready": "each service, whether Ready or not",
    "reranker_operator_service_condition_unmet": "which services are not well, and why",
    "reranker_operator_ranking_seconds": "what the way from the operator through the Service to a score takes",
    "reranker_operator_certificate_expiry_timestamp_seconds": "less `time()`: seconds that are left",
    "reranker_operator_queue_seconds": "beside the target: whether there are enough pods",
    "reranker_operator_desired_replicas": "at `maxReplicas` for long: raise it",
}
"""The same for the operator's."""

GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "Limits": (
        "max_passages",
        "split_large_requests",
        "max_body_bytes",
        "max_waiting_bytes",
        "max_image_bytes",
        "max_image_pixels",
        "max_tokens",
        "max_queue",
        "max_queue_tokens",
        "max_connections",
        "tokens_per_minute",
    ),
    "Times": (
        "header_timeout",
        "body_timeout",
        "max_queue_seconds",
        "request_timeout",
        "keep_alive",
        "grace",
    ),
    "Access": (
        "host",
        "port",
        "internal_port",
        "tls_cert",
        "tls_key",
        "tls_client_ca",
        "api_keys_file",
        "api_keys_dir",
        "public_paths",
        "playground",
    ),
    "Model and computing": (
        "model_path",
        "served_names",
        "model_name",
        "model_digest",
        "instruction",
        "strict_json",
        "device",
        "precision",
        "batch_tokens",
        "max_rows",
        "workers",
        "tokenizers",
    ),
    "Telling": ("log_level", "json_logs", "log_texts", "otel", "revision"),
}


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def check(what: str, here: Mapping[str, object] | set[str], there: set[str]) -> None:
    """Ends the process where the page would forget something, or tell of what there is not."""
    for name in sorted(there - set(here)):
        sys.exit(f"{what} {name} is not in {__file__}: say there what to make of it")
    for name in sorted(set(here) - there):
        sys.exit(f"{what} {name} of {__file__} does not exist any more: take it out")


def metrics(registry: CollectorRegistry, advice: Mapping[str, str]) -> str:
    rows = {}
    for metric in list(registry._collector_to_names):  # noqa: SLF001 - asked for nowhere else, labels neither
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            name = family.name + "_total" * (family.type == "counter")
            labels = ", ".join(f"`{label}`" for label in metric._labelnames)  # noqa: SLF001
            rows[name] = [f"`{name}`", family.type, labels, family.documentation, advice.get(name, "")]
    check("metric", advice, set(rows))
    return table(["metric", "type", "labels", "meaning", "what to make of it"], [rows[name] for name in advice])


def settings() -> str:
    fields = Settings.model_fields
    check("setting", {name for names in GROUPS.values() for name in names}, set(fields))
    heads = ["variable", "default", "allowed", "meaning"]
    return "\n".join(
        f"### {group}\n\n{table(heads, [setting(fields[name]) for name in names])}" for group, names in GROUPS.items()
    )


def setting(field: FieldInfo) -> list[str]:
    variables = next(item.names for item in field.metadata if isinstance(item, Env))
    names = dict.fromkeys(name.partition("#")[0] for name in variables)
    return [", ".join(f"`{name}`" for name in names), default(field.default), allowed(field), field.description or ""]


def default(value: Any) -> str:
    if value in (None, "", ()):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return number(value) if isinstance(value, int | float) else str(value)


def number(value: float) -> str:
    return f"{value:,}" if value > MOST_PORT else f"{value:g}"


def allowed(field: FieldInfo) -> str:
    """The bounds of a number."""
    bounds = {
        bound: number(getattr(item, bound))
        for item in field.metadata
        for bound in ("ge", "gt", "le")
        if hasattr(item, bound)
    }
    if "ge" in bounds:
        return f"{bounds['ge']} to {bounds['le']}" if "le" in bounds else f"{bounds['ge']} or more"
    return f"above {bounds['gt']}" if "gt" in bounds else ""


def made(page: str) -> str:
    """The page with its tables as the code has them now."""
    tables = {
        "metrics": metrics(Metrics().registry, ADVICE),
        "operator_metrics": metrics(OperatorMetrics().registry, OPERATOR_ADVICE),
        "settings": settings(),
    }
    text, count = MARKED.subn(lambda found: f"{found[1]}\n{tables[found[2]]}\n{found[3]}", page)
    if count != len(tables):
        sys.exit(f"{PAGE} has {count} pairs of marks <!-- begin ... -->, <!-- end ... -->, not {len(tables)}")
    return text


if __name__ == "__main__":
    text = made(PAGE.read_text("utf-8"))
    if "--write" in sys.argv[1:]:
        PAGE.write_text(text, "utf-8")
    else:
        print(text, end="")
