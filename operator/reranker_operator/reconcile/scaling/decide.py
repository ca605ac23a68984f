"""How many pods: what a HorizontalPodAutoscaler would make of the same numbers. No I/O; clocks are the caller's.

One thing is added. Requests hardly wait until pods are full, so that an empty queue alone would take away pods that are
needed: down it goes only as far as those that stay would not be too busy.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from reranker_operator.reconcile.scaling.readings import Reading
from reranker_operator.reconcile.scaling.rules import Direction, Rules, Select, Unit

MOST_BUSY: Final = 0.7
"""Share of what they can score that pods may be busy after some were taken away; above it, queues begin to grow."""
_SILENT_SECONDS: Final = 300.0
"""After so long without a recommendation what was recommended before is over, as after a restart."""
_LONGEST_SECONDS: Final = 3600.0
"""No window or period is longer."""
_MANY: Final = 1e6
"""More pods than anybody may ask for; a target of next to nothing calls for more than can be counted."""
_HAIR: Final = 1e-9
"""So that 10 x 1.1 is 11 pods, and not one more for the last bit of a float."""


@dataclass(frozen=True)
class Bounds:
    """The fewest and the most pods."""

    least: int
    most: int

    def clamp(self, pods: int) -> int:
        """`pods`, or the bound that it is beyond."""
        return max(self.least, min(pods, self.most))


def recommend(current: int, readings: Sequence[Reading], target: float, rules: Rules) -> int | None:
    """How many pods `readings` call for, with windows, rates and bounds left aside; None where nothing was read.

    Pods that are not there yet, not ready, or not readable are missing: they count as if nobody waited when there are
    too few pods, and as exactly on target, and as busy as pods may be, when there are too many.
    """
    if not readings:
        return None
    waits = [each.queue_seconds for each in readings]
    missing = max(0, current - len(waits))
    up = sum(waits) / len(waits) > target
    ratio = (sum(waits) + (0.0 if up else missing * target)) / (len(waits) + missing) / target
    if 1 - rules.down.tolerance - _HAIR <= ratio <= 1 + rules.up.tolerance + _HAIR or up != (ratio > 1):
        return current
    wanted = math.ceil(min(current * ratio, _MANY) - _HAIR)
    if up:
        return max(wanted, current)
    busy = sum(each.busy for each in readings) + missing * MOST_BUSY
    return min(current, max(wanted, math.ceil(busy / MOST_BUSY - _HAIR)))


@dataclass
class History:
    """What was recommended and done for one service. A restart forgets it, as a HorizontalPodAutoscaler's does."""

    _recommended: deque[tuple[float, int]] = field(default_factory=deque)
    _changes: deque[tuple[float, int]] = field(default_factory=deque)

    def decide(self, now: float, current: int, recommended: int | None, bounds: Bounds, rules: Rules) -> int:
        """The number of pods to have from `now` (seconds) on; `current` where nothing is to change."""
        self._forget(now)
        if current != bounds.clamp(current):
            return bounds.clamp(current)
        if recommended is None:
            return current
        silent = max(_SILENT_SECONDS, rules.up.window, rules.down.window)
        if not self._recommended or self._recommended[-1][0] < now - silent:
            # Whatever led to the present number was reason enough, until the windows have passed.
            self._recommended.append((now, current))
        self._recommended.append((now, recommended))
        stable = self._stabilised(now, current, rules)
        if stable > current:
            return min(stable, bounds.most, self._most(now, current, rules.up))
        if stable < current:
            return max(stable, bounds.least, self._least(now, current, rules.down))
        return current

    def scaled(self, now: float, before: int, after: int) -> None:
        """The number of pods was changed: rates count it."""
        self._changes.append((now, after - before))

    def _stabilised(self, now: float, current: int, rules: Rules) -> int:
        """Up no further than all of its window agreed upon, down no further than all of its own did."""
        newest = self._recommended[-1][1]
        least = min([newest, *(pods for at, pods in self._recommended if at > now - rules.up.window)])
        most = max([newest, *(pods for at, pods in self._recommended if at > now - rules.down.window)])
        return min(max(current, least), most)

    def _most(self, now: float, current: int, direction: Direction) -> int:
        """As many as policies let there be."""
        if direction.select is Select.DISABLED:
            return current
        limits = []
        for policy in direction.policies:
            begin = self._begin(now, current, policy.seconds)
            percent = -(-begin * (100 + policy.value) // 100)
            limits.append(begin + policy.value if policy.unit is Unit.PODS else percent)
        return max(current, min(limits) if direction.select is Select.MIN else max(limits))

    def _least(self, now: float, current: int, direction: Direction) -> int:
        """As few as policies let there be."""
        if direction.select is Select.DISABLED:
            return current
        limits = []
        for policy in direction.policies:
            begin = self._begin(now, current, policy.seconds)
            percent = begin * max(0, 100 - policy.value) // 100
            limits.append(begin - policy.value if policy.unit is Unit.PODS else percent)
        return min(current, max(limits) if direction.select is Select.MIN else min(limits))

    def _begin(self, now: float, current: int, seconds: float) -> int:
        """How many there were when the period began."""
        return current - sum(change for at, change in self._changes if at > now - seconds)

    def _forget(self, now: float) -> None:
        for kept in (self._recommended, self._changes):
            while kept and kept[0][0] <= now - _LONGEST_SECONDS:
                kept.popleft()
