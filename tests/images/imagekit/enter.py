"""Become a container's process: python enter.py JSON, under `unshare --mount`.

The JSON has root, user, group, directory, command, environment, keep (paths below /usr/bin that stay), binds
([source, target] pairs) and entered (a file for the clock and the processor time when the command begins, or null).
The root is read-only; of /usr/bin and /usr/sbin nothing is left but what is kept, so that whoever needs a shell, a
compiler or another tool fails.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

DEVICES = ("null", "zero", "random", "urandom", "full")


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def only(root: Path, folder: str, keep: list[str]) -> None:
    """Leave nothing but these files of a folder."""
    place, stash = root / folder, root / "dev/stash"
    links = {name: (place / name).readlink() for name in keep if (place / name).is_symlink()}
    files = [name for name in keep if name not in links]
    stash.mkdir()
    for name in files:
        (stash / name).touch()
        mount("--bind", str(place / name), str(stash / name))
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(place))
    for name, link in links.items():
        (place / name).symlink_to(link)
    for name in files:
        (place / name).touch()
        mount("--move", str(stash / name), str(place / name))
    mount("-o", "remount,ro", str(place))
    shutil.rmtree(stash)


def main() -> None:
    given = json.loads(sys.argv[1])
    root = Path(given["root"])
    mount("--bind", str(root), str(root))
    mount("-o", "remount,bind,ro", str(root))
    mount("-t", "proc", "proc", str(root / "proc"))
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(root / "dev"))
    for name in DEVICES:
        (root / "dev" / name).touch()
        mount("--bind", f"/dev/{name}", str(root / "dev" / name))
    (root / "dev/shm").mkdir()
    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", str(root / "dev/shm"))
    for source, target in given["binds"]:
        mount("--bind", source, str(root / target.lstrip("/")))
    only(root, "usr/sbin", [])
    only(root, "usr/bin", given["keep"])
    entered = os.open(given["entered"], os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC) if given["entered"] else None
    os.chroot(root)
    os.chdir(given["directory"])
    os.setgroups([])
    os.setresgid(given["group"], given["group"], given["group"])
    os.setresuid(given["user"], given["user"], given["user"])
    if entered is not None:
        os.write(entered, json.dumps([time.monotonic(), sum(os.times()[:4])]).encode())
    os.execvpe(given["command"][0], given["command"], given["environment"])


if __name__ == "__main__":
    main()
