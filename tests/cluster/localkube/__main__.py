"""The command line: `python -m localkube up | down | status | demo | build`."""

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from localkube.addresses import NoAddressError
from localkube.api import ApiError
from localkube.build import ControlPlaneUnavailableError, control_plane
from localkube.demo import demo
from localkube.namespaces import NamespacesUnavailableError
from localkube.older import older_control_plane
from localkube.processes import ProcessError
from localkube.progress import Progress
from localkube.up import DEFAULT_STATE, Standing

_TOLD = (
    ApiError,
    ControlPlaneUnavailableError,
    NamespacesUnavailableError,
    NoAddressError,
    ProcessError,
    OSError,
    TimeoutError,
)


def main() -> int:
    """Carry out one command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="localkube", description="A Kubernetes cluster of plain processes.")
    parser.add_argument("command", choices=["up", "down", "status", "demo", "build"])
    parser.add_argument("--state", type=Path, default=DEFAULT_STATE, help="folder of the cluster")
    parser.add_argument("--kubernetes", metavar="vX.Y.Z", help="build: an older release in place of go.mod's")
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)  # what was started is taken down, as with ctrl-C
    standing = Standing(arguments.state)
    try:
        if arguments.command == "build":
            _build(arguments.kubernetes)
        else:
            {"up": _up, "down": _down, "status": _status, "demo": _demo}[arguments.command](standing)
    except _TOLD as error:
        print(f"localkube {arguments.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _up(standing: Standing) -> None:
    progress = Progress()
    already = standing.client() is not None
    client = standing.up(progress)
    client.close()
    if already:
        print("the cluster is up already")
    else:
        progress("the cluster and the operator are ready; `make cluster-down` ends them")
    print(standing.usage())


def _down(standing: Standing) -> None:
    ended = standing.down()
    print(f"ended {', '.join(identity.name for identity in ended)}" if ended else "no cluster is up")


def _status(standing: Standing) -> None:
    living = standing.living()
    if not living:
        print("no cluster is up")
        return
    print(f"running: {', '.join(f'{identity.name} ({identity.pid})' for identity in living)}")
    client = standing.client()
    if client is None:
        print("some of its processes are gone; `make cluster-up` starts anew")
        return
    print(client.kubectl("get", "nodes,pods", "-A", "-o", "wide").strip())
    print(standing.usage())


def _demo(standing: Standing) -> None:
    demo(standing, Progress())


def _build(older: str | None) -> None:
    print(older_control_plane(older, Progress()) if older else control_plane(Progress()))


if __name__ == "__main__":
    sys.exit(main())
