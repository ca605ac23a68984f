"""Finds out, before anything is started, whether this machine lets us make the namespaces that pods run in."""

import os
import subprocess
import sys

from localkube import syscalls
from localkube.processes import python_environment


class NamespacesUnavailableError(Exception):
    """The kernel, or whoever set this machine up, does not let us; the message says what to do."""


def check_namespaces() -> None:
    """Raises NamespacesUnavailableError where a pod could not be started."""
    command = [sys.executable, "-S", "-m", "localkube.namespaces"]
    result = subprocess.run(command, env=python_environment(), capture_output=True, text=True, check=False)
    if result.returncode:
        raise NamespacesUnavailableError(
            "pods cannot be run on this machine: Linux 5.12 or newer is needed, and the right to make user, mount, "
            f"process and network namespaces, which was refused ({result.stderr.strip()[-300:]}). Run as root, or "
            "allow user namespaces: sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000 "
            "kernel.apparmor_restrict_unprivileged_userns=0, where these exist."
        )


def _try() -> None:
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0:
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        syscalls.map_user(0, 0, uid, gid)
    flags = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWNET
    syscalls.unshare(flags | syscalls.CLONE_NEWPID)
    syscalls.make_mounts_private()
    syscalls.mount("tmpfs", "/tmp", "tmpfs")
    syscalls.set_read_only("/tmp")
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    syscalls.map_user(65532, 0, 0, 0)


if __name__ == "__main__":
    try:
        _try()
    except OSError as error:
        sys.exit(str(error))
