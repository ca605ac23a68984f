"""Runs a program that ends when its parent does.

A test run that is killed must leave no etcd, API server or kubelet behind. `python -m localkube.tether PROGRAM ARGS...`
asks the kernel for SIGKILL at the parent's death and then becomes the program.
"""

import os
import signal
import sys

from localkube import syscalls


def tether() -> None:
    """Tie the calling process's life to its parent's."""
    syscalls.die_with_parent(signal.SIGKILL)
    parent = os.environ.get("LOCALKUBE_PARENT")
    if parent and os.getppid() != int(parent):
        os._exit(137)  # the parent ended before the kernel was asked


def main() -> None:
    """Become the program that the arguments name."""
    tether()
    os.environ.pop("LOCALKUBE_PARENT", None)
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
