"""What a pod's metrics say of its queue.

How long the requests wait that were started since the last look: counters of the runtime, so that nothing is missed
between two looks, and one large request that finds an idle pod is no queue. Requests that were refused for the wait
count as the longest wait there may be, or an overload that refuses would look like a short queue.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from reranker_operator import contract

MOST_SECONDS: Final = 86_400.0
"""No wait is taken for longer."""
BUSIEST: Final = 1_000.0
"""Nor a pod for busier: the rate of one that has scored next to nothing is no number to divide by."""
_LINE: Final = re.compile(
    rf"^({'|'.join(contract.QUEUE_METRICS)})(?:\{{cause=\"(\w+)\"\}})? (\S+)", re.MULTILINE | re.ASCII
)
"""One sample in Prometheus' text format: those that are asked for, out of a page of hundreds."""


@dataclass(frozen=True)
class Sample:
    """The counters of one pod at one moment."""

    at: float
    """Seconds of a clock that only goes forward."""
    waited: float
    """Seconds, of all requests that were started."""
    started: float
    refused: float
    """Requests, for the wait."""
    waiting: float
    """Requests, now."""
    tokens: float
    """Scored so far."""
    rate: float
    """Tokens a second that the pod can score; 0 until it has scored any."""

    @classmethod
    def parse(cls, page: str, at: float) -> "Sample":
        """From the pod's page of metrics. Raises `ValueError` naming what is missing, or no number."""
        found: dict[str, float] = {}
        refused = 0.0
        for name, cause, text in _LINE.findall(page):
            value = _number(name, text)
            if not cause:
                found[name] = value
            elif cause in contract.REFUSED_FOR_THE_WAIT:
                refused += value
        waited, started, waiting, _refused, tokens, rate = contract.QUEUE_METRICS
        if missing := [name for name in (waited, started, waiting, tokens, rate) if name not in found]:
            raise ValueError(f"it has no {missing[0]}")
        return cls(at, found[waited], found[started], refused, found[waiting], found[tokens], found[rate])


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"its {name} is {text}")
    return value


@dataclass(frozen=True)
class Reading:
    """One pod between two looks."""

    queue_seconds: float
    """Mean wait of a request."""
    busy: float = 0.0
    """Share of what it can score. More than 1 where a batch began before the last look, as those count that ended: the
    looks before have told of none of it, and a window takes the most that it was told."""


def reading(before: Sample | None, now: Sample, longest_wait: float) -> Reading | None:
    """What happened between two samples of a pod; None where that cannot be told.

    `longest_wait` is after how many seconds the runtime refuses.
    """
    if before is None or now.at <= before.at:
        return None
    waited, started, refused, tokens = (
        getattr(now, name) - getattr(before, name) for name in ("waited", "started", "refused", "tokens")
    )
    if min(waited, started, refused, tokens) < 0:
        return None  # its container was started again
    if not started and not refused and now.waiting:
        return None  # whoever waits has waited all the time, for how long is not known yet
    requests = started + refused
    seconds = (waited + refused * longest_wait) / requests if requests else 0.0
    capacity = now.rate * (now.at - before.at)
    busy = tokens / capacity if capacity else float(tokens > 0)
    return Reading(min(seconds, MOST_SECONDS), min(busy, BUSIEST))


def mean(readings: Sequence[Reading]) -> float:
    """Seconds in the queue, over all pods that could be read."""
    return sum(each.queue_seconds for each in readings) / len(readings)
