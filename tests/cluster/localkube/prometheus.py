"""A real Prometheus that scrapes processes of this machine, and its promtool, to try alerts and dashboards with.

`make tools` fetches both. No address but those of loopback is scraped.
"""

import json
import os
import shutil
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from localkube.build import cache_folder
from localkube.loopback import ask
from localkube.processes import Child, free_port, wait_until

START_SECONDS = 30.0


class PrometheusUnavailableError(Exception):
    """There is no Prometheus here; the message says what to do."""


def tool(name: str) -> Path:
    """Path of `prometheus` or `promtool`: by $PROMETHEUS or $PROMTOOL, on the PATH, else what `make tools` has fetched.

    Raises PrometheusUnavailableError.
    """
    kept = cache_folder() / "prometheus/usr/bin" / name
    found = os.environ.get(name.upper()) or shutil.which(name) or (str(kept) if os.access(kept, os.X_OK) else None)
    if found is None:
        raise PrometheusUnavailableError(
            f"`{name}` is not on the PATH, ${name.upper()} names none, and there is no {kept}; `make tools` fetches it"
        )
    return Path(found)


@dataclass(frozen=True)
class Target:
    """What is scraped, and the labels that its series get."""

    address: str
    path: str
    labels: dict[str, str]


class Prometheus:
    """A server with a store of its own; as a context it runs until the end of the block."""

    def __init__(
        self, state: Path, targets: Sequence[Target], rules: Sequence[Path] = (), interval: str = "1s"
    ) -> None:
        self._state, self._targets, self._port = state, targets, free_port()
        jobs = [
            {
                "job_name": f"{number}",
                "honor_labels": True,
                "metrics_path": target.path,
                "static_configs": [{"targets": [target.address], "labels": target.labels}],
            }
            for number, target in enumerate(targets)
        ]
        self._configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(each) for each in rules],
            "scrape_configs": jobs,
        }

    def __enter__(self) -> Self:
        self._state.mkdir(parents=True, exist_ok=True)
        file = self._state / "prometheus.yml"
        file.write_text(json.dumps(self._configuration))  # YAML, too
        command = [
            str(tool("prometheus")),
            f"--config.file={file}",
            f"--storage.tsdb.path={self._state / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
        ]
        self._child = Child("prometheus", command, self._state / "prometheus.log", tethered=True)
        wait_until("Prometheus to have scraped every target", self._has_all, timeout=START_SECONDS, watch=[self._child])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.stop()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression, each with its labels and its value now; raises HTTPError where it is none."""
        found: list[dict[str, Any]] = self._get("query", query=expression)["result"]
        return found

    def course(self, expression: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """The series of an expression over time, as Unix seconds."""
        asked = {"query": expression, "start": f"{start:f}", "end": f"{end:f}", "step": f"{step:f}"}
        found: list[dict[str, Any]] = self._get("query_range", **asked)["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Every alert's rule, with what its evaluation came to."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _has_all(self) -> bool:
        return len(self.query("up == 1")) == len(self._targets)

    def _get(self, what: str, **asked: str) -> Any:
        url = f"http://127.0.0.1:{self._port}/api/v1/{what}?{urllib.parse.urlencode(asked)}"
        with ask(url, timeout=30) as answer:
            return json.load(answer)["data"]
