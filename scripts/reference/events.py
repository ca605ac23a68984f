"""docs/reference/events.md: everything that the operator says in events, from what decides whether it is said."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from reference.words import code, table, told
from reranker_operator.api import ConditionType, EventReason, Reason
from reranker_operator.reconcile.report import is_news, is_warning

CONDITIONS: Final = Path(__file__).parents[2] / "docs/conditions.md"
HEAD: Final = """\
# Events

<!-- Made by scripts/reference_pages.py from the operator's code: edit EventReason and Reason, then `make generate`. -->

```console
$ kubectl get events --field-selector involvedObject.kind=RerankerService
```

An event is one object for each thing that was said about a service; said again, it is counted. What stands in the way
is said once, under the condition that knows it: `Ready`, `Available` and `Stalled` tell the same as another, and say
only what is listed here. A new service that is in order says only that it is Ready.
"""
CHANGES: Final = """\
## A condition changed

Under the condition's reason, with its message. What each asks for: [conditions](../conditions.md#what-to-do).
"""


def events_page() -> str:
    """The page."""
    words = told(EventReason)
    own = [[code(each.value), kind(each.is_warning), words[each.name]] for each in EventReason]
    heads = ["reason", "type", "said when"]
    return "\n".join(
        [
            HEAD,
            "## The operator did or saw something\n",
            table(heads, own),
            CHANGES,
            table(["reason", "condition", "type", "meaning"], _changes()),
        ]
    )


def kind(warning: bool) -> str:
    """The event's type."""
    return "Warning" if warning else "Normal"


def _changes() -> list[list[str]]:
    """Each reason that a change of a condition is said with."""
    words = told(Reason)
    rows = []
    for condition, status, reason in _pairs():
        new = {"type": condition.value, "status": status, "reason": reason.value}
        # Before, it had the other status: whatever can be said of a change is said then.
        old = {"status": "False" if status == "True" else "True", "reason": ""}
        if is_news(old, new):
            rows.append(
                [code(reason.value), f"{code(condition.value)} {status}", kind(is_warning(new)), words[reason.name]]
            )
    return rows


def _pairs() -> list[tuple[ConditionType, str, Reason]]:
    """Which reasons a condition has at which status, by the table of docs/conditions.md, which a test completes."""
    found = []
    for line in CONDITIONS.read_text("utf-8").splitlines():
        if not line.startswith("| `"):
            continue
        name, good, bad = line.strip("| ").split(" | ")
        condition = ConditionType(name.strip("` "))
        bad, _, unknown = bad.partition("; Unknown:")
        failed, _, doubtful = bad.partition(";") if "(Unknown)" in bad else (bad, "", "")
        for status, cell in (("True", good), ("False", failed), ("Unknown", unknown + doubtful)):
            named = dict.fromkeys(re.findall(r"`(\w+)`", cell))
            found += [(condition, status, Reason(each)) for each in named if each in set(Reason)]
    return found
