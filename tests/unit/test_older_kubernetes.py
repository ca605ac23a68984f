"""The go.mod of an older control plane: its own release's versions, of what this one requires."""

import re
from pathlib import Path

import pytest

from localkube.build import ControlPlaneUnavailableError
from localkube.older import go_mod, older_control_plane

RELEASE = """module k8s.io/kubernetes

go 1.24.0

require (
	go.etcd.io/etcd/api/v3 v3.6.4
	go.etcd.io/etcd/server/v3 v3.6.4 // indirect
	k8s.io/api v0.0.0
)

replace (
	k8s.io/api => ./staging/src/k8s.io/api
	k8s.io/component-base => ./staging/src/k8s.io/component-base
	k8s.io/kubectl => ./staging/src/k8s.io/kubectl
)
"""


def test_versions_are_those_of_the_older_release(root: Path) -> None:
    own = (root / "tests/cluster/controlplane/go.mod").read_text()
    made = go_mod(own, RELEASE, "v1.34.4")
    assert re.search(r"^go 1\.24\.0$", made, re.MULTILINE)
    required = dict(re.findall(r"^\t(\S+) (v\S+)$", made.partition("replace (")[0], re.MULTILINE))
    assert required == {
        "go.etcd.io/etcd/server/v3": "v3.6.4",
        "k8s.io/component-base": "v0.34.4",
        "k8s.io/kubectl": "v0.34.4",
        "k8s.io/kubernetes": "v1.34.4",
    }
    replaced = re.findall(r"^\t(\S+) => (\S+) (v\S+)$", made, re.MULTILINE)
    assert replaced == [(f"k8s.io/{name}",) * 2 + ("v0.34.4",) for name in ("api", "component-base", "kubectl")]
    newest = re.search(r"k8s\.io/kubernetes (v\S+)", own)
    assert newest
    assert newest[1] not in made


def test_a_release_that_reads_otherwise_is_no_traceback(root: Path) -> None:
    with pytest.raises(ControlPlaneUnavailableError, match=r"v1\.2\.3"):
        go_mod((root / "tests/cluster/controlplane/go.mod").read_text(), "module k8s.io/kubernetes\n", "v1.2.3")


@pytest.mark.parametrize("version", ["1.34", "v1.34", "latest", "v1.34.4; rm"])
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(ControlPlaneUnavailableError, match="no Kubernetes version"):
        older_control_plane(version)
