"""Fields of a NIMService and a NIMCache that become nothing here, and the words that say so.

docs/migrate-from-nim-operator.md has these and every field that becomes something; a test compares it with what the
converter reads.
"""

_PROBE = "the operator has probes of its own: a pod is ready after a warm-up ranking"
_COMMAND = "the operator starts the image by its own entrypoint; what it configures may be a variable (spec.server.env)"
_CONTAINER = "pods have the ranking container alone; an injector may add others (`run --keep-foreign MANAGER`)"
_JOB = "it is the caching Job's; here the image, or the model Job, downloads"

LEFT: dict[str, str] = {
    "command": _COMMAND,
    "args": _COMMAND,
    "draResources": "GPUs are counted by spec.gpus and spec.gpuResource; resource claims are not supported",
    "initContainers": _CONTAINER,
    "sidecarContainers": _CONTAINER,
    "livenessProbe": _PROBE,
    "readinessProbe": _PROBE,
    "startupProbe": _PROBE,
    "multiNode": "a reranker runs in one pod: give it more GPUs (spec.gpus), or more pods (spec.replicas)",
    "certConfig": "name the authorities in spec.proxy.caConfigMap",
    "resources.claims": "resource claims are not supported; count GPUs with spec.gpus",
    "storage.hostPath": "a directory of the node is no cache here; use a claim (spec.nim.cache)",
    "storage.readOnly": "a cache is mounted writable, as the image may add to it",
    "storage.emptyDir": "without spec.nim.cache each pod has an emptyDir already, without a limit of its own",
    "storage.pvc.subPath": "a cache is mounted from the root of its claim: move what is in the folder there",
    "storage.pvc.annotations": "set them on the claim itself",
    "expose.service.name": "the Service is called as the RerankerService is; name that as clients expect it",
    "expose.service.grpcPort": "rankings are served over HTTP alone",
    "expose.service.metricsPort": "metrics need no port of the Service; see spec.monitoring.serviceMonitor",
    "scale.annotations": "the HorizontalPodAutoscaler has none of the user's",
    "metrics.serviceMonitor.annotations": "a ServiceMonitor is found by labels (spec.monitoring.serviceMonitor.labels)",
    "metrics.serviceMonitor.scrapeTimeout": "Prometheus' own holds",
}
"""Path in `spec` of a NIMService -> why."""

ROUTER_LEFT: dict[str, str] = {
    "eppConfig": "an endpoint picker is for language models; requests to a reranker are alike",
    "gateway.backendRef": "the route leads to the Service",
    "gateway.grpcRoutesEnabled": "rankings are served over HTTP alone",
}
"""Path in `expose.router` (or, as in older versions, `router`)."""

CACHE_LEFT: dict[str, str] = {
    "source.dataStore": "a NeMo Data Store is no source here; put the model on a claim, or on a hub",
    "source.ngc": "the image downloads from NGC by itself, into spec.nim.cache",
    "source.hf.modelPuller": _JOB,
    "source.hf.pullSecret": _JOB,
    "storage.hostPath": LEFT["storage.hostPath"],
    "storage.pvc.subPath": LEFT["storage.pvc.subPath"],
    "storage.pvc.annotations": LEFT["storage.pvc.annotations"],
    "resources": _JOB,
    "tolerations": _JOB,
    "nodeSelector": _JOB,
    "gpuSelectors": _JOB,
    "userID": _JOB,
    "groupID": _JOB,
    "certConfig": _JOB,
    "env": _JOB,
    "runtimeClassName": _JOB,
    "proxy": f"{_JOB}: spec.proxy of the NIMService is what counts",
}
"""Path in `spec` of a NIMCache."""
