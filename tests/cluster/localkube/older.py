"""The control plane of an older Kubernetes: the same programs, with that release's own dependencies.

Its Go module is written into the cache: this one's sources, and a go.mod with the versions that the older release names
itself. It has no committed go.sum; Go checks what it downloads against its checksum database, and writes one beside.
Helm is a client and stays what it is: the newer binary's is run.
"""

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from localkube.build import MODULE, ControlPlaneUnavailableError, built, cache_folder, cached_path, locked, toolchain
from localkube.progress import Say, silent

OLDER = "v1.34.4"
"""The oldest Kubernetes that the operator is meant for, at the newest patch that can be had."""

_RELEASE = re.compile(r"v1\.\d+\.\d+")
_HELM = "helm.go"
_HELM_ELSEWHERE = """package main

import (
	"fmt"
	"os"
	"syscall"
)

// runHelm hands over to the newer binary: this release's packages are too old for Helm.
func runHelm() int {
	program := %s
	err := syscall.Exec(program, append([]string{program, "helm"}, os.Args[1:]...), os.Environ())
	fmt.Fprintln(os.Stderr, "controlplane: "+program+": "+err.Error())
	return 1
}
"""


def older_control_plane(version: str = OLDER, say: Say = silent) -> Path:
    """Path of the binary of a version such as `v1.34.4`. Raises ControlPlaneUnavailableError."""
    if not _RELEASE.fullmatch(version):
        raise ControlPlaneUnavailableError(f"{version!r} is no Kubernetes version; one reads {OLDER}")
    newer = built(MODULE, say)
    return built(_module(version, newer, say), say)


def go_mod(own: str, release: str, version: str) -> str:
    """A go.mod for an older release, of `own`, this module's, and `release`, that of its k8s.io/kubernetes.

    Only what `own` requires directly is in it, `go mod tidy` finds the rest. Raises ControlPlaneUnavailableError.
    """
    staging = re.findall(r"^\t(k8s\.io/\S+) => \./staging/", release, re.MULTILINE)
    go = re.search(r"^go (\S+)$", release, re.MULTILINE)
    etcd = re.search(r"^\s*go\.etcd\.io/etcd/server/v3 (v\S+)", release, re.MULTILINE)
    if not (staging and go and etcd):
        raise ControlPlaneUnavailableError(f"the go.mod of Kubernetes {version} names no staging modules or etcd")
    minor = version.replace("v1.", "v0.", 1)
    versions = dict.fromkeys(staging, minor) | {"k8s.io/kubernetes": version, "go.etcd.io/etcd/server/v3": etcd[1]}
    direct = re.findall(r"^\s+(\S+) v\S+$", own.partition("replace (")[0], re.MULTILINE)
    requires = "".join(f"\t{name} {versions[name]}\n" for name in direct if name in versions)
    replaces = "".join(f"\t{name} => {name} {minor}\n" for name in staging)
    return f"module reranking.dev/controlplane\n\ngo {go[1]}\n\nrequire (\n{requires})\n\nreplace (\n{replaces})\n"


def _module(version: str, newer: Path, say: Say) -> Path:
    """The older module in the cache, named by what it is made from."""
    module = cache_folder() / "controlplane" / f"{version}-{cached_path().parent.name}"
    with locked(module.parent / f"{module.name}.lock", say):
        if not module.exists():
            _write(module, version, newer, say)
    return module


def _write(module: Path, version: str, newer: Path, say: Say) -> None:
    go, environment = toolchain(MODULE, say)
    environment["GOFLAGS"] = "-mod=mod -buildvcs=false"
    say(f"asking which dependencies Kubernetes {version} has")
    with tempfile.TemporaryDirectory(dir=module.parent) as scratch:
        fresh = Path(scratch) / "module"
        fresh.mkdir()
        told = _run([go, "mod", "download", "-json", f"k8s.io/kubernetes@{version}"], fresh, environment)
        release = Path(json.loads(told)["GoMod"]).read_text()
        (fresh / "go.mod").write_text(go_mod((MODULE / "go.mod").read_text(), release, version))
        for source in MODULE.glob("*.go"):
            shutil.copy(source, fresh)
        (fresh / _HELM).write_text(_HELM_ELSEWHERE % json.dumps(str(newer)))
        _run([go, "mod", "tidy"], fresh, environment)
        fresh.rename(module)


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        said = " ".join(result.stderr.split())[-400:] or "nothing"
        raise ControlPlaneUnavailableError(f"`{' '.join(command[:3])}` failed and said: {said}")
    return result.stdout
