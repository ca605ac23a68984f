"""What a spec refers to by name: every source and runtime, with the key that must be there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from reranker_operator.api import RerankerService
from reranker_operator.reconcile.references import references

INPUTS = Path(__file__).parent.parent / "golden/input"


def named(name: str) -> set[tuple[str, str, str | None, str]]:
    service = RerankerService.parse(yaml.safe_load((INPUTS / f"{name}.yaml").read_text()))
    return {(each.kind, each.name, each.key, each.field) for each in references(service)}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("minimal", {("PersistentVolumeClaim", "weights", None, "spec.model.source.persistentVolumeClaim")}),
        ("hugging-face", {("StorageClass", "fast", None, "spec.model.source.huggingFace.cache.storageClassName")}),
        (
            "hugging-face-mirror",
            {
                ("Secret", "hub", "read-token", "spec.model.source.huggingFace.tokenSecret"),
                (
                    "PersistentVolumeClaim",
                    "shared-models",
                    None,
                    "spec.model.source.huggingFace.cache.existingClaim",
                ),
                ("ConfigMap", "company-ca", "bundle.pem", "spec.proxy.caConfigMap"),
            },
        ),
        ("model-image", {("Secret", "regcred", None, "spec.image.pullSecrets")}),
        (
            "nim",
            {
                ("Secret", "ngc", "key", "spec.nim.apiKeySecret"),
                ("StorageClass", "shared", None, "spec.nim.cache.storageClassName"),
                ("ConfigMap", "company-ca", "ca.crt", "spec.proxy.caConfigMap"),
                ("Secret", "ngc-registry", None, "spec.image.pullSecrets"),
            },
        ),
        ("nim-existing-cache", {("PersistentVolumeClaim", "nim-cache", None, "spec.nim.cache.existingClaim")}),
        ("nim-without-cache", set()),
    ],
)
def test_every_name_in_the_spec_is_looked_up(name: str, expected: set[tuple[str, str, str | None, str]]) -> None:
    assert named(name) == expected


def of_volume(**volume: Any) -> set[tuple[str, str, str | None, bool, bool]]:
    """What a volume of a pod refers to, besides the image's own."""
    spec = {
        "model": {"source": {"inImage": {"path": "/models/a"}}},
        "pod": {"volumes": [{"name": "v", **volume}], "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
    }
    document = {"apiVersion": "reranking.dev/v1alpha1", "kind": "RerankerService", "metadata": {"name": "docs"}}
    found = references(RerankerService.parse({**document, "spec": spec}))
    assert {each.field for each in found} <= {"spec.pod.volumes[v]"}
    return {(each.kind, each.name, each.key, each.optional, each.read) for each in found}


ITEMS = [{"key": "a", "path": "x"}, {"key": "b", "path": "y"}]


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        pytest.param(
            {"secret": {"secretName": "s", "items": ITEMS}},
            {
                ("Secret", "s", None, False, True),
                ("Secret", "s", "a", False, False),
                ("Secret", "s", "b", False, False),
            },
            id="secret",
        ),
        pytest.param(
            {"secret": {"secretName": "s", "items": ITEMS[:1], "optional": True}},
            {("Secret", "s", None, True, True), ("Secret", "s", "a", True, False)},
            id="optional",
        ),
        pytest.param({"secret": {"secretName": "s"}}, {("Secret", "s", None, False, True)}, id="whole"),
        pytest.param(
            {"configMap": {"name": "c", "items": ITEMS[1:]}},
            {("ConfigMap", "c", None, False, True), ("ConfigMap", "c", "b", False, False)},
            id="config-map",
        ),
        pytest.param(
            {
                "projected": {
                    "sources": [
                        {"secret": {"name": "s", "items": ITEMS[:1]}},
                        {"configMap": {"name": "c", "items": ITEMS[1:], "optional": True}},
                        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
                    ]
                }
            },
            {
                ("Secret", "s", None, False, True),
                ("Secret", "s", "a", False, False),
                ("ConfigMap", "c", None, True, True),
                ("ConfigMap", "c", "b", True, False),
            },
            id="projected",
        ),
        pytest.param(
            {"persistentVolumeClaim": {"claimName": "p"}},
            {("PersistentVolumeClaim", "p", None, False, False)},
            id="claim",
        ),
        pytest.param(
            {"csi": {"driver": "secrets.example", "nodePublishSecretRef": {"name": "s"}}},
            {("Secret", "s", None, False, False)},
            id="csi",
        ),
        pytest.param({"csi": {"driver": "secrets.example"}}, set(), id="csi-without-secret"),
        pytest.param(
            {"ephemeral": {"volumeClaimTemplate": {"spec": {"storageClassName": "fast"}}}},
            {("StorageClass", "fast", None, False, False)},
            id="ephemeral",
        ),
        # An empty name asks for no class.
        pytest.param({"ephemeral": {"volumeClaimTemplate": {"spec": {"storageClassName": ""}}}}, set(), id="no-class"),
        pytest.param({"ephemeral": {"volumeClaimTemplate": {"spec": {}}}}, set(), id="default-class"),
        pytest.param({"emptyDir": {}}, set(), id="empty"),
    ],
)
def test_what_a_volume_refers_to(
    volume: dict[str, Any], expected: set[tuple[str, str, str | None, bool, bool]]
) -> None:
    """The container reads the whole of what is mounted, as it always did: a template tells no more than that."""
    assert of_volume(**volume) == expected
