"""Builds the root that a container sees: the host's programs read-only, and the pod's volumes where the pod wants them.

The root is a small file system in memory. The host's top-level folders are bound into it read-only, except those that
hold the host's own state (/tmp, /run, ...), which start empty, as in an image. A mount point that does not exist inside
a bound folder is made by putting a folder in memory over its parent and binding the parent's entries back one by one,
so nothing on the host ever changes.
"""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localkube import syscalls

_EMPTY = {"tmp", "run", "mnt", "media", "proc", "sys", "dev", "boot", "lost+found"}
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_SHM_BYTES = 64 * 1024 * 1024  # as container engines give
_LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}
_MAX_LINKS = 40


class MountError(Exception):
    """What the pod asked for cannot be mounted."""


@dataclass
class Mount:
    """Something that appears in the container: `source` on the host at `target` inside."""

    source: str
    target: str
    read_only: bool = False
    sub_path: str = ""
    make_sub_path: bool = True

    def to_json(self) -> dict[str, Any]:
        """The form in which the kubelet hands it to the launcher."""
        return vars(self)


@dataclass
class Root:
    """A new root under construction at `path`."""

    path: str
    writable_layers: set[str] = field(default_factory=set)

    def build(self, mounts: list[Mount], keep: list[str], *, gpus: bool) -> None:
        """Mount everything. `keep` are host folders that must stay where they are: the interpreter's, the project's."""
        syscalls.mount("tmpfs", self.path, "tmpfs", syscalls.MS_NODEV, "mode=755")
        self.writable_layers.add(self.path)
        for entry in sorted(Path("/").iterdir()):
            here = f"{self.path}/{entry.name}"
            if entry.is_symlink():
                Path(here).symlink_to(entry.readlink())
            elif entry.is_dir():
                Path(here).mkdir()
                if entry.name in _EMPTY:
                    Path(here).chmod(0o1777 if entry.name == "tmp" else 0o755)
                else:
                    syscalls.bind(str(entry), here, read_only=True)
        self._devices(gpus=gpus)
        syscalls.bind("/sys", f"{self.path}/sys", read_only=True)
        self._proc()
        for mount in sorted(mounts, key=lambda mount: mount.target.rstrip("/").count("/")):
            self.place(mount)
        # Last: a checkout below /tmp would be hidden by the volume that the pod mounts there.
        for folder in keep:
            if not _same(folder, self._resolve(folder)):
                self.place(Mount(folder, folder, read_only=True))

    def seal(self) -> None:
        """`readOnlyRootFilesystem`: nothing but the volumes can be written."""
        for layer in sorted(self.writable_layers):
            syscalls.set_read_only(layer, recursive=False)

    def place(self, mount: Mount) -> None:
        """Bind one mount, making its mount point."""
        source = _sub_path(mount)
        target = self._mount_point(mount.target, folder=Path(source).is_dir())
        syscalls.bind(source, target, read_only=mount.read_only)

    def _devices(self, *, gpus: bool) -> None:
        dev = f"{self.path}/dev"
        syscalls.mount("tmpfs", dev, "tmpfs", syscalls.MS_NOSUID, "mode=755")
        self.writable_layers.add(dev)
        wanted = [f"/dev/{name}" for name in _DEVICES]
        if gpus:
            wanted += [str(path) for path in Path("/dev").glob("nvidia*")]
        for device in wanted:
            if stat.S_ISCHR(Path(device).stat().st_mode):
                Path(self.path + device).touch()
                syscalls.bind(device, self.path + device)
        for name, goal in _LINKS.items():
            Path(dev, name).symlink_to(goal)
        Path(dev, "shm").mkdir()
        flags = syscalls.MS_NOSUID | syscalls.MS_NODEV
        syscalls.mount("tmpfs", f"{dev}/shm", "tmpfs", flags, f"mode=1777,size={_SHM_BYTES}")

    def _proc(self) -> None:
        target = f"{self.path}/proc"
        try:
            syscalls.mount("proc", target, "proc", syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)
        except OSError:  # inside somebody else's container the kernel may refuse a fresh one
            syscalls.bind("/proc", target)

    def _resolve(self, path: str) -> str:
        """Where a path of the container is, as the kubelet's side sees it, following the container's links."""
        here = self.path
        parts = [part for part in path.split("/") if part]
        links = 0
        while parts:
            part = parts.pop(0)
            if part == "..":
                here = self.path if here == self.path else str(Path(here).parent)
                continue
            step = f"{here}/{part}"
            if part != "." and Path(step).is_symlink():
                links += 1
                if links > _MAX_LINKS:
                    raise MountError(f"too many links in {path}")
                goal = str(Path(step).readlink())
                if goal.startswith("/"):
                    here = self.path
                parts = [piece for piece in goal.split("/") if piece] + parts
            elif part != ".":
                here = step
        return here

    def _mount_point(self, path: str, *, folder: bool) -> str:
        """A folder or file to mount on, made where it is missing."""
        target = self._resolve(path)
        missing: list[str] = []
        here = target
        while not Path(here).exists():
            missing.insert(0, Path(here).name)
            here = str(Path(here).parent)
        if not missing:
            return target
        if not os.access(here, os.W_OK):
            self._cover(here)
        for name in missing[:-1]:
            here = f"{here}/{name}"
            Path(here).mkdir()
        if folder:
            Path(target).mkdir()
        else:
            Path(target).touch()
        return target

    def _cover(self, folder: str) -> None:
        """Put a folder in memory over a read-only one and bind its entries back."""
        below = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        mode = stat.S_IMODE(Path(folder).stat().st_mode)
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        syscalls.mount("tmpfs", folder, "tmpfs", syscalls.MS_NODEV, f"mode={mode:o}")
        self.writable_layers.add(folder)
        for entry in entries:
            here = Path(folder, entry.name)
            if entry.is_symlink():
                here.symlink_to(os.readlink(entry.name, dir_fd=below))
                continue
            if entry.is_dir(follow_symlinks=False):
                here.mkdir()
            else:
                here.touch()
            syscalls.bind(f"/proc/self/fd/{below}/{entry.name}", str(here))
        os.close(below)


def _same(one: str, other: str) -> bool:
    try:
        return Path(one).samefile(other)
    except OSError:
        return False


def _sub_path(mount: Mount) -> str:
    """The source with its subPath, which must stay inside the volume; made as a folder where it is missing."""
    if not mount.sub_path:
        return mount.source
    if ".." in mount.sub_path.split("/") or mount.sub_path.startswith("/"):
        raise MountError(f"subPath {mount.sub_path!r} must be relative and must not contain '..'")
    source = Path(mount.source, mount.sub_path).resolve()
    if not source.is_relative_to(Path(mount.source).resolve()):
        raise MountError(f"subPath {mount.sub_path!r} leads out of its volume")
    if not source.exists():
        if not mount.make_sub_path:
            raise MountError(f"subPath {mount.sub_path!r} does not exist in its volume")
        source.mkdir(parents=True)
    return str(source)
