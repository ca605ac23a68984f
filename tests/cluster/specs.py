"""Random specs that are valid and can be carried out here: a strategy for each field of the API types.

`FIELDS` and `LEFT_OUT` together name every field; a test holds them against the CRD, so that none is forgotten. What a
spec names of other objects (`PREPARED`) must be there before.

A map or a list is drawn with entries or not at all: the API server makes null of a custom resource's map that loses its
entries to a server-side apply of `{}`, and then refuses that.
"""

from typing import Any

from hypothesis import strategies as st

from rerankers import Json, spec_of

PREPARED: list[Json] = [
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "words"}, "data": {"word": "found"}},
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pull"}, "stringData": {"a": "b"}},
    {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "clients"},
        "stringData": {"search": "a-key-of-the-search-team-0123456789", "operator": "a-key-of-the-operator-0123456789"},
    },
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tls"}, "stringData": {"tls.crt": "x", "tls.key": "x"}},
]
"""Objects that specs refer to, for the namespace of the services."""

Path = tuple[str, ...]

_word = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=6)
_label_keys = st.one_of(_word, _word.map("example.com/{}".format))
_label_values = st.one_of(_word, st.just(""), _word.map("{}-1.A_b".format))
_labels = st.dictionaries(_label_keys, _label_values, min_size=1, max_size=3)
_text = st.text(st.characters(exclude_categories=["C"]), max_size=12)
_annotations = st.dictionaries(_label_keys, _text, min_size=1, max_size=3)
_hosts = st.one_of(_word, _word.map("*.{}.example.com".format), _word.map("{}-1.example.com".format))
_shares = st.one_of(st.integers(0, 5), st.integers(0, 100).map("{}%".format))
_selector = st.fixed_dictionaries({}, optional={"matchLabels": _labels})
_peers = st.one_of(
    st.fixed_dictionaries({"podSelector": _selector}, optional={"namespaceSelector": _selector}),
    st.just({"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "b"]}]}}),
    st.just({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}),
)
_values = st.one_of(
    _text.map(lambda text: {"value": text}),
    st.just({"valueFrom": {"configMapKeyRef": {"name": "words", "key": "word"}}}),
    st.just({"valueFrom": {"secretKeyRef": {"name": "clients", "key": "search"}}}),
    st.just({"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
)
_env = st.dictionaries(_word.map(lambda word: f"X_{word.upper()}"), _values, min_size=1, max_size=4).map(
    lambda found: [{"name": name, **value} for name, value in found.items()]
)
_volumes = st.sampled_from([{"emptyDir": {}}, {"emptyDir": {"sizeLimit": "1024Mi"}}, {"configMap": {"name": "words"}}])
_with_volumes = st.dictionaries(_word.map("more-{}".format), _volumes, min_size=1, max_size=2).map(
    lambda found: {
        "volumes": [{"name": name, **volume} for name, volume in found.items()],
        "volumeMounts": [{"name": name, "mountPath": f"/more/{name}"} for name in found],
    }
)
_resources = st.fixed_dictionaries(
    {
        "requests": st.fixed_dictionaries(
            {"memory": st.sampled_from(["1024Mi", "1Gi", "300000k"])},
            optional={"cpu": st.sampled_from([1, "0.5", "100m"])},
        ),
    },
    optional={"limits": st.just({"memory": "2Gi"})},
)
_affinity = st.just(
    {
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 1,
                    "podAffinityTerm": {
                        "topologyKey": "kubernetes.io/hostname",
                        "labelSelector": {"matchLabels": {"app": "reranker"}},
                    },
                }
            ]
        }
    }
)

DIRECTORY = "/the-model-of-the-test"
"""Of a node, with the model in it: whoever applies such a spec puts a real one in its place."""

_cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
_scaling = st.builds(
    lambda least, more, decides, behavior: {"minReplicas": least, "maxReplicas": least + more, **decides, **behavior},
    st.integers(1, 3),
    st.integers(0, 3),
    st.sampled_from([{"targetQueueSeconds": 0.5}, {"metrics": [_cpu]}]),
    st.sampled_from([{}, {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 30}}}]),
)

FIELDS: dict[Path, st.SearchStrategy[Any]] = {
    ("model", "source"): st.just({"hostPath": {"path": DIRECTORY}}),
    ("model", "name"): _word.map("org/{}".format),
    ("model", "precision"): st.sampled_from(["auto", "float32"]),
    ("model", "maxTokens"): st.integers(16, 256),
    ("image", "pullPolicy"): st.sampled_from(["Always", "IfNotPresent"]),
    ("image", "pullSecrets"): st.just([{"name": "pull"}]),
    ("replicas",): st.just(0),
    ("autoscaling",): _scaling,
    ("rollout", "strategy"): st.sampled_from(["Auto", "Surge", "Replace"]),
    ("rollout", "surgeTimeoutSeconds"): st.integers(0, 600),
    ("rollout", "progressDeadlineSeconds"): st.integers(600, 3600),
    ("rollout", "onFailure"): st.sampled_from(["Hold", "Rollback"]),
    ("gpus",): st.integers(0, 2),
    ("gpuResource",): st.sampled_from(["nvidia.com/gpu", "nvidia.com/mig-1g.10gb", "amd.com/gpu"]),
    ("resources",): _resources,
    ("server", "maxPassages"): st.integers(8, 1000),
    ("server", "maxQueueSeconds"): st.integers(1, 60),
    ("server", "logLevel"): st.sampled_from(["debug", "info", "warning", "error"]),
    ("server", "env"): _env,
    ("authentication",): st.sampled_from([{"generate": True}, {"apiKeysSecret": {"name": "clients"}}]),
    ("tls",): st.just({"secretName": "tls"}),
    ("service", "type"): st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer"]),
    ("service", "port"): st.integers(1024, 65535),
    ("service", "labels"): _labels,
    ("service", "annotations"): _annotations,
    ("ingress",): st.fixed_dictionaries(
        {"host": _hosts}, optional={"tlsSecretName": st.just("tls"), "annotations": _annotations}
    ),
    ("gateway",): st.fixed_dictionaries(
        {"parentRefs": st.lists(st.fixed_dictionaries({"name": _word}), min_size=1, max_size=2)},
        optional={"hostnames": st.lists(_hosts, min_size=1, max_size=2)},
    ),
    ("networkPolicy",): st.fixed_dictionaries(
        {"from": st.lists(_peers, min_size=1, max_size=3)},
        optional={"monitoring": st.lists(_peers, min_size=1, max_size=2)},
    ),
    ("disruptionBudget",): st.one_of(
        st.fixed_dictionaries({"maxUnavailable": _shares}), st.fixed_dictionaries({"minAvailable": _shares})
    ),
    ("monitoring",): st.fixed_dictionaries(
        {
            "serviceMonitor": st.fixed_dictionaries(
                {}, optional={"interval": st.sampled_from(["15s", "1m"]), "labels": _labels}
            )
        }
    ),
    ("pod", "nodeSelector"): st.just({"kubernetes.io/os": "linux"}),
    ("pod", "tolerations"): st.lists(
        st.fixed_dictionaries({"key": _word, "operator": st.just("Exists")}), min_size=1, max_size=2
    ),
    ("pod", "affinity"): _affinity,
    ("pod", "topologySpreadConstraints"): st.just(
        [{"maxSkew": 2, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}]
    ),
    ("pod", "schedulerName"): st.just("default-scheduler"),
    ("pod", "serviceAccountName"): st.just("default"),
    ("pod", "labels"): _labels,
    ("pod", "annotations"): _annotations,
    ("pod", "sharedMemory"): st.sampled_from(["64Mi", "1024Mi", "2Gi"]),
    ("pod", "terminationGracePeriodSeconds"): st.integers(1, 20),
    ("pod", "securityContext"): st.sampled_from([{"runAsUser": 1000}, {"fsGroup": 2000}]),
}
"""What a spec may hold, each field or not at all."""

TOGETHER = (("pod", "volumes"), ("pod", "volumeMounts"))
"""A mount needs its volume, so these are drawn as one."""

LEFT_OUT: dict[Path, str] = {
    ("runtime",): "NVIDIA's image is not to be had here; golden files and cluster tests of their own",
    ("nim",): "as runtime",
    ("proxy",): "for sources that download, which have cluster tests of their own",
    ("model", "digest"): "there is one that is right, and golden files and cluster tests of their own for it",
    ("image", "repository"): "another image cannot be pulled here, and then nothing is rolled out",
    ("image", "tag"): "as repository",
    ("image", "digest"): "as repository",
    ("pod", "priorityClassName"): "names an object of the whole cluster",
    ("pod", "runtimeClassName"): "names an object of the whole cluster",
}
"""Fields that are not drawn, and why."""

_ONLY_PAUSED: set[Path] = {("tls",), ("gpus",), ("gpuResource",), ("service", "type"), ("autoscaling",)}
"""Fields with which a real pod would not become ready here (no certificate, no such GPU), or with which load decides
how many there are."""


@st.composite
def specs(draw: st.DrawFn, *, runs: bool = False) -> Json:
    """A spec, of a service without pods or (`runs`) of one with a pod that becomes ready."""
    possible = [path for path in FIELDS if not (runs and path in _ONLY_PAUSED)]
    chosen = draw(st.lists(st.sampled_from(possible), unique=True, max_size=12))
    spec = spec_of()
    for path in chosen:
        inner = spec
        for part in path[:-1]:
            inner = inner.setdefault(part, {})
        inner[path[-1]] = draw(FIELDS[path])
    if draw(st.booleans()):
        spec["pod"] = {**spec.get("pod", {}), **draw(_with_volumes)}
    spec["replicas"] = int(runs)
    return spec
