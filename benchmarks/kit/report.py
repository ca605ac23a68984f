"""One table per benchmark, in Markdown so that docs/performance.md can hold what was printed, and where it was run."""

from __future__ import annotations

import os
import shlex
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from kit.paths import ROOT

DIGITS = ((100, 0), (10, 1), (0.1, 2))
"""From so great a value on, so many digits after the point."""
NOTABLE = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def machine() -> str:
    """The processor, what it can multiply, and how busy it is: figures mean nothing without them."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    facts = dict(line.replace("\t", "").split(":", 1) for line in lines if ":" in line)
    flags = facts.get("flags", "").split()
    has = " ".join(flag for flag in NOTABLE if flag in flags)
    cores = len(os.sched_getaffinity(0))
    return f"{cores} CPUs, {facts.get('model name', 'unknown').strip()} ({has}), load {os.getloadavg()[0]:.1f}"


def command() -> str:
    """How to get this table again."""
    script = Path(sys.argv[0]).resolve()
    name = script.relative_to(ROOT) if script.is_relative_to(ROOT) else script
    return shlex.join(["python", str(name), *sys.argv[1:]])


def show(columns: Sequence[str], rows: Iterable[Sequence[object]], notes: Iterable[str] = ()) -> None:
    """Print the command, the machine, the table (the first column reads left to right), and what to know of it."""
    width = None if sys.stdout.isatty() else 200
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    table = Table(box=MARKDOWN)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, str) else number_text(cell) for cell in row))
    console.print(f"\n$ {command()}\n# {machine()}")
    console.print(table)
    for note in notes:
        console.print(f"- {note}")


def hold(targets: Mapping[str, bool]) -> None:
    """End with an error that names what was not reached of what is promised."""
    missed = [what for what, reached in targets.items() if not reached]
    if missed:
        sys.exit(f"not reached: {'; '.join(missed)}")


def number_text(value: object) -> str:
    """Three digits that matter."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    digits = next((digits for least, digits in DIGITS if abs(value) >= least), None)
    return f"{value:.2g}" if digits is None else f"{value:,.{digits}f}"


def ratio(value: float) -> str:
    return f"{value:.2f}x"


def share(value: float) -> str:
    return f"{value:.0%}"


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that so many percent are not above."""
    return values[0] if len(values) == 1 else statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
