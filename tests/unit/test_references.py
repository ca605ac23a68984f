"""What a spec refers to by name: every source and runtime, with the key that must be there."""

from __future__ import annotations

from pathlib import Path

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
