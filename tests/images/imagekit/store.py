"""A base made by debootstrap, and a store of buildah's for it and what is built upon it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

CACHE: Final = Path.home() / ".cache/reranker-operator/images"
SUITE: Final = "trixie"
"""Debian 13: its Python 3.13 is the one of the Dockerfile's own base."""
PACKAGES: Final = "python3,python3-venv"


class UnavailableError(Exception):
    """Images cannot be built here; says why and what would help."""


def check() -> None:
    """Raises `UnavailableError`."""
    missing = [tool for tool in ("buildah", "debootstrap") if shutil.which(tool) is None]
    if missing:
        raise UnavailableError(f"{' and '.join(missing)} not installed; `make tools` installs them with apt-get")
    if os.geteuid() != 0:
        raise UnavailableError(
            "making a base with debootstrap and running from a built root takes root: sudo make test-images"
        )


@dataclass
class Store:
    """Where buildah keeps what these tests build, apart from anybody's own images."""

    place: Path
    base: str = f"localhost/debian-python:{SUITE}"
    containers: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """Variables under which buildah uses it; there is no engine that would let it isolate more than chroot."""
        return {
            **os.environ,
            "CONTAINERS_STORAGE_CONF": str(self.place / "storage.conf"),
            "BUILDAH_ISOLATION": "chroot",
        }

    def buildah(self, *arguments: str) -> str:
        """Run it; returns what it prints."""
        done = subprocess.run(
            ["buildah", *arguments], env=self.environment, cwd=self.place, capture_output=True, text=True
        )
        assert done.returncode == 0, f"buildah {' '.join(arguments)}: {done.stderr}"
        return done.stdout.strip()

    def open(self) -> None:
        """Make it, with the base in it."""
        self.place.mkdir(parents=True, exist_ok=True)
        settings = {"driver": _driver(self.place), "graphroot": self.place / "store", "runroot": self.place / "run"}
        lines = "".join(f'{name} = "{value}"\n' for name, value in settings.items())
        (self.place / "storage.conf").write_text(f"[storage]\n{lines}")
        if self.base not in self.buildah("images", "--format", "{{.Name}}:{{.Tag}}").splitlines():
            container = self.buildah("from", "scratch")
            self.buildah("add", container, str(base_archive()), "/")
            self.buildah("commit", "--rm", container, self.base)

    def mount(self, image: str) -> Path:
        """The root of a container of this image."""
        container = self.buildah("from", "--pull-never", image)
        self.containers.append(container)
        return Path(self.buildah("mount", container))

    def config(self, image: str) -> dict[str, Any]:
        """What the image says of itself, as docker would read it."""
        said = json.loads(self.buildah("inspect", "--type", "image", image))
        return {
            "config": said["Docker"]["config"],
            "history": said["Docker"]["history"],
            "layers": said["OCIv1"]["rootfs"]["diff_ids"],
        }

    def close(self, *, keep: bool) -> None:
        """Let go of the roots; without `keep`, of all images too."""
        for container in self.containers:
            self.buildah("rm", container)
        if not keep:
            self.buildah("rm", "--all")
            self.buildah("rmi", "--all", "--force")
            shutil.rmtree(self.place)


def _driver(place: Path) -> str:
    """Overlay where this file system can be its layers; a copy of everything for each layer where it cannot."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        for name in ("lower", "upper", "work", "merged"):
            Path(folder, name).mkdir()
        options = f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work"
        tried = subprocess.run(
            ["mount", "-t", "overlay", "overlay", "-o", options, f"{folder}/merged"], capture_output=True
        )
        if tried.returncode:
            return "vfs"
        subprocess.run(["umount", f"{folder}/merged"], check=True)
        return "overlay"


def base_archive() -> Path:
    """A minimal Debian with Python, made once; a minute or two."""
    archive = CACHE / f"base-{SUITE}.tar"
    if archive.exists():
        return archive
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        root, log = Path(folder, "root"), CACHE / "debootstrap.log"
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(root), *mirror()]
        with log.open("wb") as lines:
            done = subprocess.run(command, stdout=lines, stderr=lines)
        assert done.returncode == 0, f"debootstrap made no base; {log} ends:\n{log.read_text()[-2000:]}"
        made = Path(folder, "base.tar")
        leave_out = [
            f"--exclude={path}"
            for path in (
                "./dev/*",
                "./proc/*",
                "./sys/*",
                "./var/cache/apt/archives/*",
                "./var/lib/apt/lists/*",
                "./var/log/*",
                "./etc/apt/sources.list",
            )
        ]
        subprocess.run(["tar", "-C", str(root), *leave_out, "-cf", str(made), "."], check=True)
        made.rename(archive)
    return archive


def mirror() -> list[str]:
    """The mirror of Debian that apt uses on this machine; none where it is no Debian, as debootstrap knows one."""
    asked = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages", "Component: main"],
        capture_output=True,
        text=True,
    )
    found = [line.split()[1] for line in asked.stdout.splitlines() if line.startswith("Debian ")]
    plain = [address for address in found if "security" not in address]
    return plain[:1]


@contextmanager
def opened(*, keep: bool) -> Iterator[Store]:
    """A store for the tests; raises `UnavailableError`."""
    check()
    store = Store(CACHE / "store")
    store.open()
    try:
        yield store
    finally:
        store.close(keep=keep)
