"""The report: the verdict first, then the facts in the order in which one asks for them."""

from reranker_operator import __version__
from reranker_operator.diagnose import pods, service, surroundings
from reranker_operator.diagnose.gather import MOST_SECRETS, TOO_MANY, Gathered
from reranker_operator.diagnose.layout import paragraph
from reranker_operator.diagnose.redact import Redactor
from reranker_operator.diagnose.verdict import verdict

_SECTIONS = (
    ("CONDITIONS", service.conditions),
    ("SPEC", service.spec),
    ("MODEL AND RANKING", service.model),
    ("CHILDREN", service.children),
    ("PODS", pods.pods),
    ("MODEL JOB", pods.job),
    ("WHAT THE SPEC REFERS TO", service.named),
    ("EVENTS", surroundings.events),
    ("LOGS", pods.logs),
    ("METRICS (of each ranking pod, since its start)", pods.metrics),
    ("OPERATOR", surroundings.operator),
    ("CLUSTER", surroundings.cluster),
)

_MOST_UNREAD = 20


def report(found: Gathered, redactor: Redactor) -> str:
    """The whole report, as text for a terminal and for a bug report."""
    lines = [*verdict(found), *paragraph(_read_at(found))]
    for title, section in _SECTIONS:
        lines += ["", title, *section(found)]
    return redactor.text("\n".join(lines) + "\n")


def _read_at(found: Gathered) -> str:
    at = found.at.strftime("%Y-%m-%dT%H:%M:%SZ")
    words = f"Read at {at} by reranker-operator {__version__}. Secrets are redacted."
    unread = [name for name, answer in found.secrets.items() if answer.value is None and not answer.absent]
    if not unread:
        return words
    more = f" and {len(unread) - _MOST_UNREAD} more" if len(unread) > _MOST_UNREAD else ""
    names = ", ".join(unread[:_MOST_UNREAD]) + more
    why = f"at most {MOST_SECRETS} Secrets are read" if _beyond(found) else "you may not read it"
    return f"{words} What texts repeat of {names} may still stand there: {why}."


def _beyond(found: Gathered) -> bool:
    return any(answer.problem == TOO_MANY for answer in found.secrets.values())
