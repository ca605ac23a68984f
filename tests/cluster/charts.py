"""The chart as helm renders it: what the chart's tests are written in."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]
CHART = Path(__file__).parents[2] / "charts/reranker-operator"
DEFAULTS: Json = yaml.safe_load((CHART / "values.yaml").read_text())
EVERYTHING = Path(__file__).parent / "chart/values/everything.yaml"
"""Values with which everything is rendered that can be."""


@dataclass
class Helm:
    """The binary's helm, without a cluster."""

    binary: Path
    home: Path
    chart: Path = CHART

    def run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command, whatever comes of it."""
        own = {f"HELM_{part}_HOME": str(self.home / part.lower()) for part in ("CACHE", "CONFIG", "DATA")}
        command = [str(self.binary), "helm", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, env={"PATH": "/nowhere", **own})

    def template(
        self, values: Json | Path | None = None, flags: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """`helm template` as it would be installed by the README, of values as an object or in a file."""
        given = str(values) if isinstance(values, Path) else "-"
        text = None if isinstance(values, Path) else yaml.safe_dump(values or {})
        command = ["template", "reranker-operator", str(self.chart), "--namespace", "reranker-system"]
        return self.run(*command, "--values", given, *flags, stdin=text)

    def objects(self, values: Json | Path | None = None, flags: Sequence[str] = ()) -> list[Json]:
        """Every object of it."""
        made = self.template(values, flags)
        assert made.returncode == 0, made.stderr
        return [each for each in yaml.load_all(made.stdout, yaml.CSafeLoader) if each]


def golden_text(objects: list[Json], chart: Path = CHART) -> str:
    """Objects as a golden file has them."""
    return without_version(yaml.safe_dump_all(objects, sort_keys=False, width=120), chart)


def without_version(text: str, chart: Path = CHART) -> str:
    """Text with VERSION in the place of the chart's version, which each release changes."""
    version = yaml.safe_load((chart / "Chart.yaml").read_text())["version"]
    return re.sub(rf"(?<![\d.]){re.escape(version)}(?![\d.])", "VERSION", text)


def flags_of(path: Path) -> list[str]:
    """What the first line of a values file says to call helm with."""
    first = path.read_text().splitlines()[0]
    return first.removeprefix("# flags: ").split() if first.startswith("# flags: ") else []


def of_kind(objects: list[Json], *kinds: str) -> list[Json]:
    """Those of some kinds."""
    return [each for each in objects if each["kind"] in kinds]
