"""Windows, rates and tolerances of scaling, with the defaults of a HorizontalPodAutoscaler."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

TOLERANCE: Final = 0.1
"""What the average may be off its target, as a share of it, where nothing is said."""


class Unit(StrEnum):
    """What a policy counts in."""

    PODS = "Pods"
    PERCENT = "Percent"


class Select(StrEnum):
    """Which of several policies holds."""

    MAX = "Max"
    MIN = "Min"
    DISABLED = "Disabled"


@dataclass(frozen=True)
class Policy:
    """At most `value` pods, or percent of those at the period's begin, within `seconds`."""

    unit: Unit
    value: int
    seconds: int


@dataclass(frozen=True)
class Direction:
    """How to scale up, or down."""

    window: float
    """Seconds for which every recommendation must have agreed: the least eager one counts."""
    policies: tuple[Policy, ...]
    select: Select = Select.MAX
    tolerance: float = TOLERANCE

    def changed(self, given: Mapping[str, Any]) -> "Direction":
        """With what a behavior says of it."""
        said: dict[str, Any] = {}
        if "stabilizationWindowSeconds" in given:
            said["window"] = given["stabilizationWindowSeconds"]
        if "selectPolicy" in given:
            said["select"] = Select(given["selectPolicy"])
        if "tolerance" in given:
            said["tolerance"] = _quantity(given["tolerance"])
        if "policies" in given:
            said["policies"] = tuple(
                Policy(Unit(each["type"]), each["value"], each["periodSeconds"]) for each in given["policies"]
            )
        return replace(self, **said)


@dataclass(frozen=True)
class Rules:
    """Both directions."""

    up: Direction = Direction(0, (Policy(Unit.PERCENT, 100, 15), Policy(Unit.PODS, 4, 15)))
    down: Direction = Direction(300, (Policy(Unit.PERCENT, 100, 15),))

    @classmethod
    def of(cls, behavior: Mapping[str, Any] | None) -> "Rules":
        """Of a HorizontalPodAutoscalerBehavior, which the schema has checked."""
        given = behavior or {}
        return cls(cls().up.changed(given.get("scaleUp") or {}), cls().down.changed(given.get("scaleDown") or {}))


def _quantity(text: int | str) -> float:
    """A quantity as far as the schema allows one here: 0.05, or 50m."""
    said = str(text)
    return float(said.removesuffix("m")) / (1000 if said.endswith("m") else 1)
