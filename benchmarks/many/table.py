"""The one table: figure, target, measured."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from kit.report import ratio, share, show

from many.creation import Creation, Run
from many.repair import Repairs
from many.rotation import Rotations
from many.still import Idle, Restart

LEAST_SHARE = 0.6
RESTART_SECONDS = 15.0
IDLE_CORES = 0.02
MEMORY_MIB = 200.0
REPAIR_SECONDS = 0.5
ROTATION_SECONDS = 1.0

Row = tuple[str, str, str, str]


@dataclass
class Results:
    """What was measured; None where it was not asked for, or did not get that far."""

    count: int
    creation: Creation | None = None
    restart: Restart | None = None
    idle: Idle | None = None
    repairs: Repairs | None = None
    rotations: Rotations | None = None


def show_results(results: Results) -> None:
    """Print it all."""
    rows: list[Row] = []
    notes: list[str] = []
    if results.creation:
        rows += _creation(results.creation)
        notes += _creation_notes(results.creation)
    if results.restart:
        rows += _restart(results.restart)
        notes.append(
            f"restart: {results.restart.cpu:.1f} s of processor time; calls: {_counted(results.restart.calls)}"
        )
    if results.idle:
        rows += _idle(results.idle)
    if results.repairs:
        rows += _repairs(results.repairs)
        worst = {what: max(seconds) for what, seconds in results.repairs.by_damage.items()}
        said = ", ".join(
            f"{what} {seconds:.2f} s" for what, seconds in sorted(worst.items(), key=lambda each: -each[1])
        )
        notes.append(f"slowest repairs: {said}")
    if results.rotations:
        rows += _rotations(results.rotations)
    if rows:
        show((f"{results.count} services", "target", "measured", ""), rows, notes)


def _creation(made: Creation) -> list[Row]:
    loader = ", ".join(f"{made.rate(run):.1f}" for run in made.loader)
    return [
        ("bare loader, before and after, resources/s", "", loader, ""),
        ("operator, from leading to the last child, resources/s", "", f"{made.rate(made.operator):.1f}", ""),
        ("operator / loader", f">= {LEAST_SHARE:.0%}", share(made.ratio), _verdict(made.ratio >= LEAST_SHARE)),
        ("processor time of all processes, operator / loader", "", ratio(made.cost), ""),
        ("operator, until every status is written, s", "", f"{made.operator.reported:.1f}", ""),
    ]


def _creation_notes(made: Creation) -> list[str]:
    operator = made.operator
    return [
        f"loader: processor seconds {_cpu(made.loader[0])}",
        f"operator: processor seconds {_cpu(operator)}; {operator.since_first:.1f} s from the first child to the last",
        f"operator: {operator.calls:,} calls until the last child; writes: {_counted(operator.writes)}",
        f"operator: {operator.reported_calls:,} calls until every status; writes: {_counted(operator.reported_writes)}",
    ]


def _restart(made: Restart) -> list[Row]:
    return [
        ("restart with nothing to do: ready, s", "", f"{made.ready:.1f}", ""),
        (
            f"restart with nothing to do: calm after {made.rounds:,} rounds, s",
            f"< {RESTART_SECONDS:.0f}",
            f"{made.calm:.1f}",
            _verdict(made.calm < RESTART_SECONDS),
        ),
        _unchanged(f"restart: objects changed, of {made.objects:,}", made.changed),
    ]


def _idle(made: Idle) -> list[Row]:
    window = f"idle for {made.seconds:.0f} s"
    return [
        (f"{window}: of a core", f"< {IDLE_CORES:.0%}", f"{made.cores:.2%}", _verdict(made.cores < IDLE_CORES)),
        (f"{window}: rounds, calls, rankings", "", f"{made.rounds:,}, {made.calls:,}, {made.rankings:,}", ""),
        _unchanged(f"{window}: objects changed", made.changed),
        (
            "memory, resident and peak, MiB",
            f"< {MEMORY_MIB:.0f}",
            f"{made.resident:.0f}, {made.peak:.0f}",
            _verdict(made.peak < MEMORY_MIB),
        ),
    ]


def _repairs(made: Repairs) -> list[Row]:
    if not made.seconds:
        return [("a damaged child is back", f"p99 < {REPAIR_SECONDS} s", f"{len(made.lost)} lost", _verdict(False))]
    measured = f"p50 {made.at(50):.2f}, p99 {made.at(99):.2f}, max {max(made.seconds):.2f}"
    met = made.at(99) < REPAIR_SECONDS and not made.lost
    return [
        (f"{len(made.seconds)} damaged children are back, s", f"p99 < {REPAIR_SECONDS}", measured, _verdict(met)),
        ("damaged children that are not back", "0", str(len(made.lost)), _verdict(not made.lost)),
    ]


def _rotations(made: Rotations) -> list[Row]:
    target = f"< {ROTATION_SECONDS:.0f}"
    slowest = max(made.seconds, default=None)
    met = not made.unchanged and slowest is not None and slowest < ROTATION_SECONDS
    measured = "did not change" if slowest is None else f"max {slowest:.2f} of {len(made.seconds)}"
    return [
        ("a rotated Secret: the templates that use it changed, s", target, measured, _verdict(met)),
        ("a rotated Secret: other templates changed", "0", str(made.strangers), _verdict(not made.strangers)),
    ]


def _unchanged(what: str, changed: Counter[str]) -> Row:
    return (what, "0", _counted(changed) if changed else "0", _verdict(not changed))


def _verdict(met: bool) -> str:
    return "met" if met else "MISSED"


def _cpu(run: Run) -> str:
    return ", ".join(f"{name} {seconds:.1f}" for name, seconds in run.cpu.items())


def _counted(counter: Counter[str] | Counter[tuple[str, str]]) -> str:
    parts = (f"{' '.join(key) if isinstance(key, tuple) else key} {count:,}" for key, count in counter.most_common())
    return ", ".join(parts) or "none"
