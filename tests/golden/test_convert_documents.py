"""Which documents `reranker-operator convert` takes, passes over and refuses, and where it writes what it made."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from converting import SERVICE, run


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1\n", "document 1: not YAML"),
        ("a: 1\n---\nb: *nowhere\n", "document 2: not YAML"),
        ("a: 1\na: 2\n", "document 1: not YAML: the key a is there twice"),
        (b"\xff\xfe\x00a: 1", "not YAML"),
        ("!!map [1]", "document 1: not YAML: expected a mapping node, but found sequence"),
        ("a: !!bool maybe", "document 1: not YAML: 'maybe' is no bool"),
        ("a: &a {b: 1}\nc: {<<: *a, d: 1, d: 2}\n", "document 1: not YAML: the key d is there twice"),
        ("[" * 3000, "nested too deep"),
        ("- &a [*a]\n", "holds too much, or an alias of itself"),
        (
            "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
            + "".join(f"{c}: &{c} [{','.join(['*' + p] * 10)}]\n" for p, c in zip("abcde", "bcdef", strict=True)),
            "too much",
        ),
        ("", "holds no NIMService that ranks"),
        ("kind: Secret\n", "holds no NIMService that ranks"),
        (SERVICE.replace("v1alpha1", "v1"), "apiVersion must be apps.nvidia.com/v1alpha1, not apps.nvidia.com/v1"),
        (SERVICE.replace("{name: rerank}", "{}"), "document 1: NIMService (without a name): metadata.name is missing"),
        (SERVICE.replace("{name: rerank}", "[]"), "metadata must be a mapping, not []"),
        (SERVICE.split("spec:", maxsplit=1)[0] + "spec: [1]\n", "spec must be a mapping, not [1]"),
        (SERVICE.split("spec:", maxsplit=1)[0] + "spec: {}\n", "spec.image.repository is missing"),
        (SERVICE + "  replicas: two\n", 'spec.replicas must be a whole number, not "two"'),
        (SERVICE + "  replicas: true\n", "spec.replicas must be a whole number, not true"),
        (
            SERVICE + "  nodeSelector: {gpu: true}\n",
            "spec.nodeSelector.gpu must be a string, not true; write it in quotes",
        ),
        (SERVICE + "  env: [{value: x}]\n", "spec.env[0] must be a variable with a name"),
        (SERVICE + "  env: {A: x}\n", "spec.env must be a list"),
        (SERVICE + "  scale: {enabled: true}\n", "spec.scale.hpa.maxReplicas is missing"),
        (SERVICE + "  expose: {service: {port: '80'}}\n", 'spec.expose.service.port must be a whole number, not "80"'),
        (SERVICE + "  expose: {service: {port: 0}}\n", "what it becomes is refused: spec.service.port"),
        (
            SERVICE + "  tolerations: [{operator: Sometimes, where: here}]\n",
            "what it becomes is refused: spec.pod.tolerations",
        ),
        (
            SERVICE.replace("gpu: 1", "gpu: half"),
            'spec.resources.limits.nvidia.com/gpu must be a number of GPUs, not "half"',
        ),
        (SERVICE.replace("{name: rerank}", "{name: 9}"), "metadata.name must be a string, not 9"),
        (SERVICE.replace("{name: rerank}", f"{{name: {'r' * 60}}}"), "use at most 46 characters"),
        (SERVICE + "---\n" + SERVICE, "two services are called rerank"),
    ],
)
def test_bad_input_is_a_line_with_file_document_and_path(text: str | bytes, said: str) -> None:
    result = run("-", stdin=text)
    assert (result.returncode, result.stdout) == (2, "")
    assert said in result.stderr
    assert all(line.startswith("reranker-operator: ") for line in result.stderr.splitlines())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["nowhere.yaml"], "nowhere.yaml"),
        ([], "Missing argument 'FILE...'"),
        (["-", "--output", "/nowhere"], "--output /nowhere: no such directory"),
        (["-", "--claim", "models"], "are for --runtime Bundled"),
        (["-", "--runtime", "Bundled"], "add --hugging-face OWNER/NAME@COMMIT or --claim CLAIM/DIRECTORY"),
        (["-", "--runtime", "Bundled", "--hugging-face", "my-org/one"], "expected OWNER/NAME@COMMIT"),
        (["-", "--runtime", "Bundled", "--hugging-face", "my-org/one@main"], "a service pins a commit"),
        (["-", "--runtime", "Bundled", "--claim", "a/../b"], "path must not contain '.' or '..'"),
        (["-", "--service", "other"], "--service other: no NIMService of this name"),
    ],
)
def test_flags_that_do_not_fit_are_told(flags: list[str], said: str) -> None:
    result = run(*flags, stdin=SERVICE)
    assert (result.returncode, result.stdout) == (2, "")
    assert said in result.stderr


def test_one_bad_document_keeps_all_from_being_written(tmp_path: Path) -> None:
    result = run("-", "--output", str(tmp_path), stdin=f"{SERVICE}---\n{SERVICE.replace('name: rerank', 'name: 9')}")
    assert result.returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_files_are_written_whole_and_never_over_others(tmp_path: Path) -> None:
    manifests = f"{SERVICE}---\n{SERVICE.replace('{name: rerank}', '{name: other, namespace: search}')}"
    assert run("-", "--output", str(tmp_path), stdin=manifests).returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"rerank.yaml", "search.other.yaml"}
    (tmp_path / "rerank.yaml").write_text("mine\n")
    (tmp_path / "search.other.yaml").unlink()

    again = run("-", "--output", str(tmp_path), stdin=manifests)
    assert again.returncode == 2
    assert f"{tmp_path}/rerank.yaml: exists already; remove it, or add --force" in again.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"rerank.yaml"}

    assert run("-", "--output", str(tmp_path), "--force", stdin=manifests).returncode == 0
    assert yaml.safe_load((tmp_path / "rerank.yaml").read_text())["kind"] == "RerankerService"


CACHE = """\
apiVersion: apps.nvidia.com/v1alpha1
kind: NIMCache
metadata: {name: models}
spec: {source: {ngc: {modelPuller: any}}, storage: {pvc: {name: models}}}
"""
PIPELINE = """\
apiVersion: apps.nvidia.com/v1alpha1
kind: NIMPipeline
metadata: {name: rag}
spec:
  services:
    - name: rerank
      spec:
        image: {repository: nvcr.io/nim/nvidia/rerank, tag: "1"}
        storage: {nimCache: {name: models}}
        resources: {limits: {nvidia.com/gpu: 1}}
"""


@pytest.mark.parametrize("manifest", [SERVICE, CACHE, PIPELINE], ids=["NIMService", "NIMCache", "NIMPipeline"])
@pytest.mark.parametrize("namespace", ["../above", "/elsewhere", "a.b", "Search", "n" * 64, 5, ["a"], False])
def test_a_namespace_that_is_none_is_refused_and_nothing_is_written(
    manifest: str, namespace: object, tmp_path: Path
) -> None:
    """It is part of the file's name, so that a path would lead out of the directory that was given."""
    document = yaml.safe_load(manifest)
    document["metadata"]["namespace"] = namespace
    folder = tmp_path / "made"
    folder.mkdir()
    said = run("-", "--output", str(folder), stdin=yaml.safe_dump_all([document, yaml.safe_load(SERVICE)]))
    assert (said.returncode, said.stdout) == (2, "")
    line = said.stderr.splitlines()[0]
    assert f"document 1: {document['kind']} {document['metadata']['name']}: metadata.namespace must be " in line
    assert json.dumps(namespace)[:50] in line
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_other_documents_are_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    secret = "kind: Secret\napiVersion: v1\nmetadata: {name: ngc, created: 2026-01-01}\n"
    result = run("-", "--keep-others", stdin=f"{secret}---\n{SERVICE}")
    assert [each["kind"] for each in yaml.safe_load_all(result.stdout)] == ["Secret", "RerankerService"]
    assert "document 1: Secret ngc passed over" in result.stderr
    run("-", "--keep-others", "--output", str(tmp_path), stdin=f"{secret}---\n{SERVICE}")
    assert yaml.safe_load((tmp_path / "others.yaml").read_text())["kind"] == "Secret"


def test_what_is_merged_is_no_key_that_is_there_twice() -> None:
    """A mapping that another one merges has the keys of what it merges itself by then, beside its own."""
    merged = "base: {image: &image {tag: '1'}, own: &own {<<: *image, tag: '2'}}\nagain: {<<: *own}\n"
    said = run("-", "--keep-others", stdin=f"{merged}---\n{SERVICE}")
    assert said.returncode == 0, said.stderr
    kept, _service = yaml.safe_load_all(said.stdout)
    assert kept == {"base": {"image": {"tag": "1"}, "own": {"tag": "2"}}, "again": {"tag": "2"}}


def test_lists_of_nvidias_kinds_are_lists() -> None:
    """As the server answers with; kubectl makes a List of any kinds of it."""
    cache, service = yaml.safe_load(CACHE), yaml.safe_load(SERVICE)
    service["spec"]["storage"] = {"nimCache": {"name": "models"}}
    lists = [
        {"apiVersion": "apps.nvidia.com/v1alpha1", "kind": f"{each['kind']}List", "metadata": {}, "items": [each]}
        for each in (service, cache)
    ]
    said = run("-", stdin=yaml.safe_dump_all(lists))
    assert said.returncode == 0, said.stderr
    assert yaml.safe_load(said.stdout)["spec"]["nim"]["cache"] == {"existingClaim": "models"}
    assert "document 2, items[0]: NIMCache models: spec.source.ngc: left out" in said.stderr


def test_a_service_called_others_does_not_get_lost_behind_them(tmp_path: Path) -> None:
    manifests = f"kind: Secret\n---\n{SERVICE.replace('name: rerank', 'name: others')}"
    said = run("-", "--keep-others", "--output", str(tmp_path), stdin=manifests)
    assert said.returncode == 2
    assert "others.yaml, and so does the service that is called others" in said.stderr
    assert list(tmp_path.iterdir()) == []


def test_strict_writes_only_what_is_taken_over_as_it_is() -> None:
    assert run("-", "--strict", stdin=SERVICE).returncode == 0
    refused = run("-", "--strict", stdin=SERVICE + "  command: [sh]\n")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "spec.command: left out" in refused.stderr


def test_strict_takes_objects_as_a_cluster_has_them() -> None:
    """The server and NVIDIA's operator have written to each of them, and nobody can leave that away."""
    live = yaml.safe_load(SERVICE)
    live["metadata"] |= {
        "uid": "3b1f6c38-6f3f-4c0e-8d5e-9b7c5a7a1f10",
        "finalizers": ["finalizer.nimservice.apps.nvidia.com"],
        "ownerReferences": [{"apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMPipeline", "name": "rag"}],
    }
    live["status"] = {"state": "Ready", "availableReplicas": 1}
    said = run("-", "--strict", stdin=yaml.safe_dump(live))
    assert (said.returncode, said.stderr) == (0, "")
    assert list(yaml.safe_load(said.stdout)["metadata"]) == ["name"]


def test_what_a_pipeline_made_is_converted_once() -> None:
    """`kubectl get` shows a NIMPipeline, and beside it the NIMServices that NVIDIA's operator made of it."""
    pipeline = yaml.safe_load(PIPELINE)
    made = {"apiVersion": pipeline["apiVersion"], "kind": "NIMService", **pipeline["spec"]["services"][0]}
    owner = {"apiVersion": pipeline["apiVersion"], "kind": "NIMPipeline", "name": "rag", "uid": "1"}
    made["metadata"] = {"name": made.pop("name"), "ownerReferences": [owner]}
    said = run("-", stdin=yaml.safe_dump_all([yaml.safe_load(CACHE), made, pipeline]))
    assert said.returncode == 0, said.stderr
    assert [each["metadata"]["name"] for each in yaml.safe_load_all(said.stdout)] == ["rerank"]
    assert "NIMService rerank passed over: NIMPipeline rag is there, which makes it" in said.stderr

    made["metadata"]["namespace"] = "elsewhere"  # by a pipeline of that name there, which is not among these
    both = run("-", stdin=yaml.safe_dump_all([yaml.safe_load(CACHE), made, pipeline]))
    assert both.returncode == 0, both.stderr
    namespaces = [each["metadata"].get("namespace") for each in yaml.safe_load_all(both.stdout)]
    assert namespaces == ["elsewhere", None]


def test_what_is_not_converted_keeps_strict_from_nothing() -> None:
    """Neither a cache that no service uses nor a pipeline's service that does not rank."""
    pipeline = yaml.safe_load(PIPELINE)
    del pipeline["spec"]["services"][0]["spec"]["storage"]
    chat = {"name": "chat", "dependencies": [{"name": "rerank", "port": 8000}], "unheard": "of"}
    pipeline["spec"]["services"].append({**chat, "spec": {"image": {"repository": "nvcr.io/nim/meta/chat"}}})
    said = run("-", "--strict", stdin=f"{CACHE}---\n{yaml.safe_dump(pipeline)}")
    assert said.returncode == 0, said.stderr
    passed = "NIMPipeline rag: spec.services[1] (chat) passed over", "NIMCache models passed over"
    lines = said.stderr.splitlines()
    assert len(lines) == len(passed)
    assert all(words in line for words, line in zip(passed, lines, strict=True))
    used = run("-", "--strict", stdin=f"{CACHE}---\n{PIPELINE}")
    assert used.returncode == 1
    assert "document 1: NIMCache models: spec.source.ngc: left out" in used.stderr


def test_what_a_pipeline_has_beside_its_rerankers_is_kept_where_that_is_asked_for() -> None:
    mixed = yaml.safe_load(PIPELINE)
    off = {**mixed["spec"]["services"][0], "name": "rerank-before", "enabled": False}
    chat = {"name": "chat", "spec": {"image": {"repository": "nvcr.io/nim/meta/chat"}}}
    mixed["spec"]["services"] += [chat, off]
    none = {**mixed, "metadata": {"name": "answers"}, "spec": {"services": [chat]}}
    empty = {**mixed, "metadata": {"name": "empty"}, "spec": {"services": []}}
    said = run("-", "--keep-others", stdin=yaml.safe_dump_all([mixed, none, empty]))
    assert said.returncode == 0, said.stderr
    kept, *as_they_are, service = yaml.safe_load_all(said.stdout)
    assert (service["kind"], service["metadata"]["name"]) == ("RerankerService", "rerank")
    assert kept == {**mixed, "spec": {"services": [chat, off]}}
    assert as_they_are == [none, empty]
    for name in ("answers", "empty"):
        assert f"NIMPipeline {name} passed over: none of its services is converted" in said.stderr

    (whole,) = yaml.safe_load_all(run("-", "--keep-others", stdin=PIPELINE).stdout)
    assert whole["kind"] == "RerankerService", "nothing is left of the pipeline"


def test_a_service_that_does_not_rank_is_passed_over_unless_it_is_named() -> None:
    chat = SERVICE.replace("nvidia/rerank", "meta/chat").replace("name: rerank", "name: chat")
    result = run("-", stdin=f"{SERVICE}---\n{chat}")
    assert [each["metadata"]["name"] for each in yaml.safe_load_all(result.stdout)] == ["rerank"]
    assert "NIMService chat passed over: it does not look like a reranker; --service NAME" in result.stderr
    named = run("-", "--service", "chat", stdin=f"{SERVICE}---\n{chat}")
    assert [each["metadata"]["name"] for each in yaml.safe_load_all(named.stdout)] == ["chat"]


def test_the_installed_command_reads_standard_input() -> None:
    command = [Path(sys.executable).with_name("reranker-operator"), "convert", "-"]
    started = subprocess.run(command, input=SERVICE, capture_output=True, text=True)
    assert (started.returncode, started.stderr) == (0, "")
    assert started.stdout == run("-", stdin=SERVICE).stdout
