"""Whatever specs say, one after the other: everything becomes as the last one asks for."""

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from convergence import Convergence
from localkube.cluster import Cluster
from localkube.operator_process import OperatorProcess
from reranker_operator.api.crd import custom_resource_definition
from rerankers import API, KIND, Json, Rerankers
from specs import DIRECTORY, FIELDS, LEFT_OUT, PREPARED, TOGETHER, specs
from specs import Path as Field

SEED = int(os.environ.get("FAULTS_SEED", "1"))
RUNS = "with-a-pod"
NAMES = (RUNS, "first", "second")
"""One of them has a pod now and then; more would take the machine's time with little to show for it."""
CHILDREN = [
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
    ("apps/v1", "Deployment"),
    ("networking.k8s.io/v1", "Ingress"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("policy/v1", "PodDisruptionBudget"),
]
"""Kinds of which the operator hears when somebody deletes one."""

Step = tuple[str, str, Json | tuple[str, str] | None]
"""What is done, to which service, and with what."""


@st.composite
def steps(draw: st.DrawFn) -> Step:
    """One thing that people do: apply a spec, delete a service, delete a child."""
    name = draw(st.sampled_from(NAMES))
    what = draw(st.sampled_from(["apply"] * 6 + ["delete", "drop"]))
    if what == "apply":
        return what, name, draw(specs(runs=name == RUNS and draw(st.booleans())))
    return what, name, draw(st.sampled_from(CHILDREN)) if what == "drop" else None


bursts = st.lists(st.lists(steps(), min_size=1, max_size=5), min_size=1, max_size=3)


@pytest.fixture(scope="module")
def directory(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of a node with the model in it."""
    folder = tmp_path_factory.mktemp("directory")
    folder.chmod(0o755)
    Rerankers(cluster, "default").put_model(folder / "model")
    return folder / "model"


@pytest.mark.long
@pytest.mark.parametrize("part", range(3))
def test_everything_becomes_as_the_last_spec_asks_for(
    cluster: Cluster, operator: OperatorProcess, optional_kinds: None, directory: Path, part: int
) -> None:
    """Bursts of edits on up to three services, each looked at when it has settled; seeded, and told where it fails."""

    @seed(f"{SEED}/{part}")
    @settings(
        max_examples=8,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # an example takes seconds: none is looked for that is smaller
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(story=bursts)
    def property_holds(story: list[list[Step]]) -> None:
        namespace = f"property-{uuid.uuid4().hex[:8]}"
        cluster.create_namespace(namespace)
        try:
            tell(cluster, namespace, story, directory)
        finally:
            cluster.delete("v1", "Namespace", namespace)

    property_holds()


def tell(cluster: Cluster, namespace: str, story: list[list[Step]], directory: Path) -> None:
    cluster.apply(*PREPARED, namespace=namespace)
    rerankers = Rerankers(cluster, namespace)
    convergence = Convergence(cluster, namespace, ("--allow-host-path", str(directory)))
    for burst in story:
        touched = {name for _, name, _ in burst}
        kept = {template: uids for template, uids in convergence.pods().items() if template[0] not in touched}
        for what, name, asked in burst:
            if what == "apply":
                assert isinstance(asked, dict)
                spec = json.loads(json.dumps(asked).replace(DIRECTORY, str(directory)))
                cluster.apply(
                    {"apiVersion": API, "kind": KIND, "metadata": {"name": name}, "spec": spec}, namespace=namespace
                )
            elif what == "delete":
                rerankers.delete(name)
            else:
                version, kind = asked or ("", "")
                cluster.delete(version, kind, name, namespace)
        convergence.wait(kept, timeout=60)


def test_any_character_arrives(rerankers: Rerankers) -> None:
    """Beyond U+FFFF too, for which JSON may write escapes that YAML does not know."""
    words = 'crab \N{CRAB}, \u00e9, \u9003 and a quote"'
    env = [{"name": "WORDS", "value": words}]
    rerankers.apply("docs", replicas=0, service={"annotations": {"words": words}}, server={"env": env})
    Convergence(rerankers.cluster, rerankers.namespace).wait()
    assert rerankers.service("docs")["metadata"]["annotations"]["words"] == words


def test_every_field_is_drawn_or_left_out_for_a_reason() -> None:
    """A new field belongs into specs.py: into FIELDS, with values that can be carried out here, or into LEFT_OUT."""
    properties = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    named = {*FIELDS, *TOGETHER, *LEFT_OUT}
    assert sorted(unnamed(properties["spec"], named)) == []
    assert not FIELDS.keys() & LEFT_OUT.keys()


def unnamed(schema: Json, named: set[Field], path: Field = ()) -> Iterator[Field]:
    """Fields of the schema that neither they nor what they are part of is named."""
    for name, value in schema.get("properties", {}).items():
        below = (*path, name)
        if below not in named:
            if any(each[: len(below)] == below for each in named):
                yield from unnamed(value, named, below)
            else:
                yield below
