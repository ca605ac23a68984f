"""Make the trimmed copy of the API server's own schemas that the CRD passes through.

`spec.pod`, `spec.resources` and `spec.server.env` hand values on to pods, `spec.autoscaling` to a
HorizontalPodAutoscaler, so their schema is the one the API server publishes, of the oldest Kubernetes minor that is
supported: fields newer than that server would be accepted by the CRD and then refused in the object. Descriptions are
dropped (a CRD over 256 KB cannot be applied client-side), list-map keys and int-or-string are kept. Where no Go is at
hand, any server's `/openapi/v3/api/v1` and `/openapi/v3/apis/autoscaling/v2` do.

    python scripts/pod_schema.py [OPENAPI.json ...]
"""

import argparse
import json
import pathlib
import subprocess
from typing import Any

TARGET = pathlib.Path(__file__).parent.parent / "operator/reranker_operator/api/pod_schema.json"
OLDEST = "v1.34.4"
KINDS = (
    "Affinity",
    "EnvVar",
    "PodSecurityContext",
    "ResourceRequirements",
    "Toleration",
    "TopologySpreadConstraint",
    "Volume",
    "VolumeMount",
)
AUTOSCALING_KINDS = ("HorizontalPodAutoscalerBehavior", "MetricSpec")
ALLOWED_VOLUMES = (
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
)
KEPT = (
    "type",
    "format",
    "required",
    "enum",
    "nullable",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
)
INT_OR_STRING = {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}
QUANTITY = {
    **INT_OR_STRING,
    # The server's own pattern for quantities, so that a bad one is refused here and not in the Deployment.
    "pattern": r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$",
}


def structural(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """`schema` with every reference put in place and only what a structural CRD schema may hold."""
    reference = schema.get("$ref") or next((part["$ref"] for part in schema.get("allOf", ()) if "$ref" in part), None)
    if reference is not None:
        name = reference.rsplit("/", 1)[1]
        if name.endswith("resource.Quantity"):
            return dict(QUANTITY)
        if name.endswith("intstr.IntOrString"):
            return dict(INT_OR_STRING)
        return structural(schemas[name], schemas)
    kept = {key: schema[key] for key in KEPT if key in schema}
    if "properties" in schema:
        kept["properties"] = {name: structural(value, schemas) for name, value in sorted(schema["properties"].items())}
    if "items" in schema:
        kept["items"] = structural(schema["items"], schemas)
    if isinstance(schema.get("additionalProperties"), dict):
        kept["additionalProperties"] = structural(schema["additionalProperties"], schemas)
    return kept


def restricted(kinds: dict[str, Any]) -> dict[str, Any]:
    """Leave out what would let whoever may create a RerankerService out of the restricted Pod Security Standard."""
    volume = kinds["Volume"]["properties"]
    kinds["Volume"]["properties"] = {name: volume[name] for name in ("name", *ALLOWED_VOLUMES)}
    # A projected token of any ServiceAccount would hand its rights to the pod.
    del volume["projected"]["properties"]["sources"]["items"]["properties"]["serviceAccountToken"]
    # The server counts the cost of CEL rules by the longest string that there could be.
    kinds["VolumeMount"]["properties"]["mountPath"]["maxLength"] = 512
    for name in ("windowsOptions", "seccompProfile", "appArmorProfile", "seLinuxOptions", "sysctls", "runAsNonRoot"):
        kinds["PodSecurityContext"]["properties"].pop(name)
    return kinds


def bounded(kinds: dict[str, Any]) -> dict[str, Any]:
    """Say of windows and rates what the server checks by code: with targetQueueSeconds it never sees them."""
    for rules in kinds["HorizontalPodAutoscalerBehavior"]["properties"].values():
        fields = rules["properties"]
        fields["selectPolicy"]["enum"] = ["Max", "Min", "Disabled"]
        fields["stabilizationWindowSeconds"] |= {"minimum": 0, "maximum": 3600}
        fields["tolerance"]["pattern"] = r"^[0-9]+(\.[0-9]+)?m?$"
        fields["policies"]["minItems"] = 1
        policy = fields["policies"]["items"]["properties"]
        policy["type"]["enum"] = ["Pods", "Percent"]
        policy["value"]["minimum"] = 1
        policy["periodSeconds"] |= {"minimum": 1, "maximum": 1800}
    return kinds


def published() -> list[pathlib.Path]:
    """The OpenAPI documents inside the Go module of the oldest supported minor."""
    found = subprocess.run(
        ["go", "mod", "download", "-json", f"k8s.io/kubernetes@{OLDEST}"], check=True, capture_output=True, text=True
    )
    folder = pathlib.Path(json.loads(found.stdout)["Dir"]) / "api/openapi-spec/v3"
    return [folder / "api__v1_openapi.json", folder / "apis__autoscaling__v2_openapi.json"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("openapi", nargs="*", type=pathlib.Path, help="default: the Go module of the oldest minor")
    schemas: dict[str, Any] = {}
    for source in parser.parse_args().openapi or published():
        schemas |= json.loads(source.read_text())["components"]["schemas"]
    named = {f"io.k8s.api.core.v1.{kind}" for kind in KINDS}
    named |= {f"io.k8s.api.autoscaling.v2.{kind}" for kind in AUTOSCALING_KINDS}
    kinds = {name.rsplit(".", 1)[1]: structural(schemas[name], schemas) for name in named}
    document = {"kubernetes": OLDEST, "kinds": bounded(restricted(kinds))}
    TARGET.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
