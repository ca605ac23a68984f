"""What a report says of the pods: their states, the model Job's verdict, their last words, a few telling metrics."""

from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families

from reranker_operator.desired import ModelReport
from reranker_operator.desired.metadata import MODEL, TEMPLATE_HASH
from reranker_operator.diagnose.gather import MOST_PODS, Gathered, Log
from reranker_operator.diagnose.layout import Json, age, block, condition, dig, is_ready, paragraph, table
from reranker_operator.diagnose.reader import Answer
from reranker_operator.kube import Kind

_OTHER_ROUTES = ("/metrics", "/v1/metrics", "/v1/health/live", "/v1/health/ready")
"""Asked for by whoever watches a pod, not by those who want a ranking."""
_MEBIBYTE = 1 << 20
_FIGURES = ("READY", "RUNNING", "WAITING", "WAIT", "TOKENS/S", "2XX", "4XX", "5XX", "REFUSED", "DROPPED", "MEMORY")


def pods(found: Gathered) -> list[str]:
    """Every pod, those in trouble first."""
    listed = found.pods.value
    if listed is None:
        return [f"  not read: {found.pods.problem}"]
    lines = [line for pod in found.shown_pods for line in pod_lines(found, pod)]
    if len(listed) > MOST_PODS:
        ready = sum(map(is_ready, listed[MOST_PODS:]))
        lines.append(f"  and {len(listed) - MOST_PODS} pods more, {ready} of them ready")
    return [*lines, *([f"  {found.pods.note}"] if found.pods.note else [])] or ["  none"]


def pod_lines(found: Gathered, pod: Json) -> list[str]:
    """One pod and its containers."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    component = dig(metadata, "labels", "app.kubernetes.io/component")
    template = dig(metadata, "labels", TEMPLATE_HASH)
    ended = status.get("phase") in ("Succeeded", "Failed")
    facts = [
        *([component] if component else []),
        str(status.get("phase")),
        *([] if ended else ["ready" if is_ready(pod) else "not ready"]),
        f"on {dig(pod, 'spec', 'nodeName') or 'no node'}",
        f"age {age(found.at, metadata.get('creationTimestamp'))}",
        *([f"template {template}"] if template else []),
        *(["being removed"] if "deletionTimestamp" in metadata else []),
    ]
    lines = [f"  {metadata['name']}: {', '.join(facts)}"]
    if status.get("reason") or status.get("message"):
        lines += paragraph(f"{status.get('reason', '')}: {status.get('message', '')}", indent=4)
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        lines += paragraph(f"{scheduled.get('reason')}: {scheduled.get('message')}", indent=4)
    for each in [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]:
        lines += _container(found, each)
    return lines


def _container(found: Gathered, status: Json) -> list[str]:
    ready = "ready" if status.get("ready") else "not ready"
    state, restarts = _state(found, status.get("state") or {}), status.get("restartCount", 0)
    lines = paragraph(f"{status['name']}: {state}, {ready}, {restarts} restarts", indent=4)
    before = dig(status, "lastState", "terminated")
    if before:
        lines += paragraph(f"before that: {_state(found, {'terminated': before})}", indent=6)
    ended = dig(status, "state", "terminated") or before or {}
    message = str(ended.get("message") or "").strip()
    if message and not (ended.get("exitCode") == 0 and ModelReport.parse(message)):  # that of a model: see MODEL JOB
        lines += [f"      last message of exit code {ended.get('exitCode')}:", *block(message, indent=8)]
    return lines


def _state(found: Gathered, state: Json) -> str:
    if "waiting" in state:
        waiting = state["waiting"] or {}
        return ": ".join(str(each) for each in ("waiting", waiting.get("reason"), waiting.get("message")) if each)
    if "terminated" in state:
        ended = state["terminated"] or {}
        why = f"{ended.get('reason', '')}, exit code {ended.get('exitCode', '?')}"
        signal = f", signal {ended['signal']}" if ended.get("signal") else ""
        return f"terminated {age(found.at, ended.get('finishedAt'))} ago ({why}{signal})"
    if "running" in state:
        return f"running for {age(found.at, dig(state, 'running', 'startedAt'))}"
    return "no state"


def job(found: Gathered) -> list[str]:
    """The model Job and what it found."""
    answer = found.children.get(Kind.JOB.title) or Answer()
    if answer.value is None:
        return [f"  not read: {answer.problem}"]
    lines: list[str] = []
    for each in answer.value:
        lines.append(f"  {each['metadata']['name']}, age {age(found.at, each['metadata'].get('creationTimestamp'))}")
        for said in dig(each, "status", "conditions") or ():
            words = [str(said.get(part)) for part in ("type", "status", "reason", "message") if said.get(part)]
            lines += paragraph(" ".join(words), indent=4)
    verdicts = list(_verdicts(found))
    if lines and not verdicts:
        lines.append("  no verdict: its pod is gone, or has said nothing yet")
    return [*lines, *verdicts] or ["  none: it is made when everything that the spec names exists"]


def _verdicts(found: Gathered) -> Iterator[str]:
    for pod in found.pods.value or ():
        if dig(pod, "metadata", "labels", "app.kubernetes.io/component") != MODEL:
            continue
        for status in dig(pod, "status", "containerStatuses") or ():
            for state in ("state", "lastState"):
                report = ModelReport.parse(dig(status, state, "terminated", "message"))
                if report is not None:
                    yield f"  {pod['metadata']['name']} says:"
                    yield from table([(key, value) for key, value in report.to_json().items()], indent=4)


def logs(found: Gathered) -> list[str]:
    """The last lines of every container."""
    if found.pods.value is None:
        return [f"  not read: {found.pods.problem}"]
    return [line for each in found.logs for line in log_lines(each)] or ["  none: no container has been started"]


def log_lines(log: Log) -> list[str]:
    """One log with its heading."""
    which = " (the process before)" if log.previous else ""
    head = f"  --- {log.pod}, {log.container}{which}"
    if log.answer.value is None:
        return [f"{head}: not read: {log.answer.problem}"]
    note = f": {log.answer.note}" if log.answer.note else ""
    return [head + note, *(block(log.answer.value) or ["    (nothing)"])]


def metrics(found: Gathered) -> list[str]:
    """A few figures of each ranking pod, since its start."""
    if found.pods.value is None:
        return [f"  not read: {found.pods.problem}"]
    if not found.metrics:
        return ["  none: no ranking pod runs"]
    rows: list[tuple[str, ...]] = [("POD", *_FIGURES)]
    lines: list[str] = []
    for pod, answer in found.metrics.items():
        if answer.value is None:
            lines += paragraph(f"{pod}: not read: {answer.problem}")
            continue
        try:
            rows.append((pod, *_figures(answer.value)))
        except (ValueError, LookupError, TypeError) as error:  # whatever answers there
            lines.append(f"  {pod}: its answer is no metrics: {error}")
    return [*(table(rows) if len(rows) > 1 else []), *lines]


def _figures(text: str) -> tuple[str, ...]:
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def total(name: str, status: str = "") -> float | None:
        found = [each for each in samples if each.name == name and each.labels.get("route") not in _OTHER_ROUTES]
        counted = [each.value for each in found if each.labels.get("status", "").startswith(status)]
        return sum(counted) if found else None

    def shown(value: float | None, unit: str = "") -> str:
        return "-" if value is None else f"{value:.3g}{unit}" if value % 1 else f"{value:.0f}{unit}"

    memory = total("reranker_device_memory_bytes")
    return (
        shown(total("reranker_ready")),
        shown(total("reranker_running_requests")),
        shown(total("reranker_queue_requests")),
        shown(total("reranker_estimated_wait_seconds"), "s"),
        shown(total("reranker_tokens_per_second")),
        *(shown(total("reranker_requests_total", first)) for first in "245"),
        shown(total("reranker_refused_total")),
        shown(total("reranker_dropped_connections_total")),
        shown(memory // _MEBIBYTE if memory is not None else None, "Mi"),
    )
