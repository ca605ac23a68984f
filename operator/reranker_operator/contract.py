"""What the operator knows of the containers it starts: ports, paths, variables (docs/pod-contract.md).

One module, so that each fact stands in one place. The runtime has its own copy of the same contract; a test starts
from what the builders emit and proves that the runtime's settings know every variable.
"""

API_PORT = 8000
INTERNAL_PORT = 8002
LIVE_PATH = "/v1/health/live"
READY_PATH = "/v1/health/ready"
RANKING_PATH = "/v1/ranking"
METRICS_PATH = "/metrics"

COMMAND = "reranker-runtime"
MODEL_MOUNT = "/model"
REPORT_PATH = "/dev/termination-log"
USER = 65532

REFUSED_EXIT_CODE = 2
"""Exit status of `reranker-runtime verify` and `fetch` when the model must not be served; anything else is worth
another try."""

FETCH_CONTAINER = "fetch"
VERIFY_CONTAINER = "verify"
"""The model Job's containers."""

CHECK_CONTAINER = "check-model"
"""The init container that looks at the model once more before the server starts."""

RANKING_CONTAINER = "ranking"
"""The server, ours or NVIDIA's; others in its pod are injected."""

MODEL_VOLUME = "model"
WRITABLE = {"tmp": "/tmp", "shm": "/dev/shm"}  # noqa: S108 emptyDirs of the container  # nosec B108

SECRETS_MOUNT = "/etc/reranker"
SECRETS = {"api-keys": f"{SECRETS_MOUNT}/keys", "tls": f"{SECRETS_MOUNT}/tls"}
"""Secrets as directories by volume, never as single files: the kubelet renews only those."""

CA_VOLUME = "ca"
CA_MOUNT = f"{SECRETS_MOUNT}/ca"
"""Certificates that downloads trust, as a directory."""

LEAVE_SECONDS = 10
"""Of a pod's grace period, left for connections to close after the last request is done."""

PRECISION_NAMES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}

MODEL_PATH_VARIABLE = "NIM_MODEL_PATH"
OPERATOR_VARIABLES = (
    MODEL_PATH_VARIABLE,
    "NIM_SERVED_MODEL_NAME",
    "NIM_HTTP_API_PORT",
    "RERANKER_INTERNAL_PORT",
    "NIM_PRECISION",
    "NIM_PIPELINE_MAX_SEQ_LEN",
    "RERANKER_MODEL_DIGEST",
    "RERANKER_MAX_PASSAGES",
    "RERANKER_MAX_QUEUE_SECONDS",
    "NIM_LOG_LEVEL",
    "RERANKER_REVISION",
    "RERANKER_GRACE_SECONDS",
    "RERANKER_API_KEYS_DIR",
    "NIM_TLS_CERT_PATH",
    "NIM_TLS_KEY_PATH",
)
"""Set by the operator alone: the API refuses them in `spec.server.env`, naming the field to use instead."""

ALIASES = (
    "NIM_ENGINE_MODEL_PATH",
    "NIM_MODEL_NAME",
    "NIM_ENGINE_MODEL_NAME",
    "NIM_SERVER_PORT",
    "NIM_BIND_ADDR",
    "NIM_SERVER_BIND_ADDR",
    "RUST_LOG",
    "RERANKER_API_KEYS_FILE",
)
"""Other generations' names for the same settings: the runtime refuses two that disagree, so they are refused too."""

# NVIDIA's image in the bundled runtime's place: the same API port and paths, and nothing beyond.
NIM_USER = 1000
"""The user that NVIDIA's own chart runs its images as."""
NIM_CACHE = "/opt/nim/.cache"
"""The place that NVIDIA documents, so that an image which does not know the variable finds the cache there too."""
NIM_METRICS_PATH = "/v1/metrics"
NIM_VARIABLES = ("NGC_API_KEY", "NIM_CACHE_PATH")
"""All that the operator sets for NVIDIA's image, besides proxies."""
NIM_PORT_VARIABLES = (
    "NIM_HTTP_API_PORT",
    "NIM_SERVER_PORT",
    "NIM_BIND_ADDR",
    "NIM_SERVER_BIND_ADDR",
    "NIM_TLS_CERT_PATH",
    "NIM_TLS_KEY_PATH",
)
"""What would move or encrypt the API port under the probes, by the names of all generations."""
QUEUE_METRICS = (
    "reranker_queue_seconds_sum",
    "reranker_queue_seconds_count",
    "reranker_queue_requests",
    "reranker_refused_total",
    "reranker_batch_tokens_sum",
    "reranker_tokens_per_second",
)
"""What tells how long requests wait in a pod, and how busy it is: read on the internal port, to scale by."""
REFUSED_FOR_THE_WAIT = ("estimated_wait", "queue_timeout", "queue_full", "queue_tokens")
"""Causes of `reranker_refused_total`: requests that would have waited, or did, as long as one may."""
