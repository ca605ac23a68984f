"""`make cluster-up`, `make demo` and `make cluster-down`, as a newcomer uses them."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]


def localkube(command: str, state: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """What `make cluster-up`, `cluster-down` and `demo` run."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests/cluster"), **variables}
    return subprocess.run(
        [sys.executable, "-m", "localkube", command, "--state", state],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
        timeout=240,
    )


def processes(state: Path) -> list[str]:
    """Command lines of living processes that name the cluster's folder."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_text().replace("\0", " ")
        except OSError:
            continue
        if str(state) in line and "-m localkube" not in line:
            lines.append(line)
    return lines


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "cluster"
    yield folder
    localkube("down", folder)


def ranks(printed: str) -> list[str]:
    """The ranks in the printed table."""
    return re.findall(r"^ +(\d+) +-?\d+\.\d+ +\S", printed, flags=re.MULTILINE)


@pytest.mark.usefixtures("cluster")  # without a control plane there is nothing to bring up
def test_up_demo_and_down(state: Path) -> None:
    up = localkube("up", state)
    assert up.returncode == 0, up.stderr
    (exported,) = re.findall(r"^export KUBECONFIG=(\S+)$", up.stdout, flags=re.MULTILINE)
    kubectl = [state / "bin/kubectl", "--kubeconfig", exported]
    served = subprocess.run([*kubectl, "get", "rrs", "-A"], capture_output=True, text=True)
    assert served.returncode == 0, served.stderr

    again = localkube("up", state)
    assert (again.returncode, "up already" in again.stdout) == (0, True)

    demo = localkube("demo", state)
    assert demo.returncode == 0, demo.stderr
    assert ranks(demo.stdout) == ["1", "2", "3", "4"]
    assert "two roads diverged" in demo.stdout
    curl = demo.stdout[demo.stdout.index("curl -s") : demo.stdout.index("}'") + 2]
    by_hand = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, check=True)
    assert len(json.loads(by_hand.stdout)["rankings"]) == 4
    (page,) = re.findall(r"^To try it in a browser: (\S+)$", demo.stdout, flags=re.MULTILINE)
    shown = subprocess.run(["curl", "-s", "--noproxy", "*", page], capture_output=True, text=True, check=True)
    assert "<title>Reranker playground</title>" in shown.stdout

    assert processes(state)
    down = localkube("down", state)
    assert (down.returncode, processes(state)) == (0, [])
    assert "no cluster is up" in localkube("down", state).stdout


def test_without_a_control_plane_the_demo_still_ranks_and_says_why(state: Path, tmp_path: Path) -> None:
    """No Go on the machine, none to be had, and nothing cached."""
    nothing = {"RERANKER_CACHE": str(tmp_path / "empty"), "UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path / "uv")}
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if not (Path(part) / "go").exists())
    demo = localkube("demo", state, PATH=path, LOCALKUBE_CONTROLPLANE="", **nothing)
    assert demo.returncode == 0, demo.stderr
    assert "A Kubernetes control plane cannot be had on this machine" in demo.stdout
    assert ranks(demo.stdout) == ["1", "2", "3", "4"]
    assert processes(state) == []
