"""docs/conditions.md tells of every reason that a condition can have: a message that names one leads there."""

import re
from pathlib import Path

from reranker_operator.api import ConditionType, Reason

NEEDS_NOTHING = {
    Reason.ACCEPTED,
    Reason.RESOLVED,
    Reason.VERIFIED,
    Reason.NOT_APPLICABLE,
    Reason.AVAILABLE,
    Reason.RANKED,
    Reason.COMPLETE,
    Reason.NOT_STALLED,
    Reason.READY,
}
"""Reasons that ask nobody to do, or to wait for, anything."""


def test_every_condition_and_reason_is_in_the_table(root: Path) -> None:
    rows = [
        row.split("|")[1:-1] for row in (root / "docs/conditions.md").read_text().splitlines() if row.startswith("| `")
    ]
    assert [row[0].strip(" `") for row in rows] == [each.value for each in ConditionType]
    told = {word for _kind, *cells in rows for cell in cells for word in re.findall(r"`([A-Za-z]+)`", cell)}
    assert {each.value for each in Reason} <= told


def test_every_reason_that_asks_for_something_says_what(root: Path) -> None:
    told = set(re.findall(r"\*\*`(\w+)`\*\*", (root / "docs/conditions.md").read_text()))
    assert told == {each.value for each in Reason} - {each.value for each in NEEDS_NOTHING}
