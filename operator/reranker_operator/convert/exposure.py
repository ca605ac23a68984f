"""How a NIMService is reached and watched: Service, Ingress, router, ServiceMonitor."""

from typing import Any

from reranker_operator.convert.reader import Fields, Json
from reranker_operator.convert.storage import leave
from reranker_operator.convert.table import ROUTER_LEFT

_KEEP_ONE = "a service has one, with one host; make others beside it, to the same Service"


def expose(spec: Fields, name: str, namespace: str | None, made: Json) -> None:
    """`expose`, and the `router` that older versions have beside it."""
    exposed = spec.child("expose")
    service = _service(exposed.child("service"))
    if service:
        made["service"] = service
    ingress = _ingress(exposed.child("ingress"))
    gateway: Json | None = None
    for router in (exposed.child("router"), spec.child("router")):
        found, route = _router(router, name, namespace)
        if ingress is not None and found is not None:
            router.tell("ingress", f"left out: another Ingress is asked for, too, and {_KEEP_ONE}")
        ingress, gateway = ingress or found, gateway or route
    if ingress is not None:
        made["ingress"] = ingress
    if gateway is not None:
        made["gateway"] = gateway


def metrics(spec: Fields, made: Json) -> None:
    """`metrics`."""
    part = spec.child("metrics")
    monitor = part.child("serviceMonitor")
    interval, labels = monitor.text("interval"), monitor.strings("additionalLabels")
    if not part.flag("enabled"):
        if monitor:
            part.tell("serviceMonitor", "left out: metrics.enabled is not true")
        return
    wanted: Json = {}
    if interval is not None:
        wanted["interval"] = interval
    if labels:
        wanted["labels"] = labels
    made["monitoring"] = {"serviceMonitor": wanted}


def _service(service: Fields) -> Json:
    made: Json = {}
    if (kind := service.text("type")) is not None:
        made["type"] = kind
    port, older = service.integer("port"), service.integer("openaiPort")
    if (port := port if port is not None else older) is not None:
        made["port"] = port
    if annotations := service.strings("annotations"):
        made["annotations"] = annotations
    return made


def _ingress(ingress: Fields) -> Json | None:
    enabled, annotations, spec = ingress.flag("enabled"), ingress.strings("annotations"), ingress.child("spec")
    class_name = spec.text("ingressClassName")
    host, secret = spec.text("host"), _tls_secret(spec.entries("tls"), spec)
    rules, paths = spec.entries("rules"), spec.entries("paths")
    default = spec.raw("defaultBackend")
    if not enabled:
        if annotations or spec:
            ingress.tell("spec", "left out: ingress.enabled is not true")
        return None
    if default is not None:
        spec.tell("defaultBackend", "left out: all of the host's paths lead to the Service")
    hosts = [each.get("host") for each in rules if isinstance(each, dict)]
    if any(_narrow(each) for each in [*paths, *_paths(rules)]):
        where = "rules" if rules else "paths"
        spec.tell(where, "the Ingress that is made has every path of the host, where this one has some")
    if len(rules) > 1:
        spec.tell("rules", f"left out but for the first: {_KEEP_ONE}")
    host = host or next((each for each in hosts if isinstance(each, str) and each), None)
    if host is None:
        spec.tell("rules", "left out: no rule names a host, and an Ingress here has one (spec.ingress.host)")
        return None
    made: Json = {"host": host}
    if class_name is not None:
        made["className"] = class_name
    if secret is not None:
        made["tlsSecretName"] = secret
    if annotations:
        made["annotations"] = annotations
    return made


def _paths(rules: list[Any]) -> list[Any]:
    found: list[Any] = []
    for rule in rules:
        http = rule.get("http") if isinstance(rule, dict) else None
        paths = http.get("paths") if isinstance(http, dict) else None
        found += paths if isinstance(paths, list) else []
    return found


def _narrow(path: Any) -> bool:
    return not isinstance(path, dict) or path.get("path", "/") != "/"


def _tls_secret(entries: list[Any], spec: Fields) -> str | None:
    names = [each.get("secretName") for each in entries if isinstance(each, dict)]
    known = [each for each in names if isinstance(each, str) and each]
    if len(known) != len(entries) or len(known) > 1:
        spec.tell("tls", f"left out but for the first Secret: {_KEEP_ONE}")
    return known[0] if known else None


def _router(router: Fields, name: str, namespace: str | None) -> tuple[Json | None, Json | None]:
    """An Ingress and an HTTPRoute, as far as they are asked for."""
    domain, annotations = router.text("hostDomainName"), router.strings("annotations")
    ingress, gateway = router.child("ingress"), router.child("gateway")
    leave(router, ROUTER_LEFT)
    host = f"{name}.{namespace}.{domain}" if namespace and domain else None
    asked, route = _routed_ingress(ingress, host, annotations), _route(gateway, host)
    if host is None and (ingress or route is not None):
        missing = "metadata.namespace" if domain else "hostDomainName"
        router.tell("hostDomainName", f"the host is not known, as {missing} is not given: set it, or add the part here")
    if domain and not ingress and not gateway:
        router.tell("hostDomainName", "left out: with neither an ingress nor a gateway there is nothing to reach")
    if annotations and asked is None:
        router.tell("annotations", "left out: only an Ingress has annotations here")
    return asked, route


def _routed_ingress(ingress: Fields, host: str | None, annotations: dict[str, str]) -> Json | None:
    class_name, secret = ingress.text("ingressClass"), ingress.text("tlsSecretName")
    if not ingress or host is None:
        return None
    asked = {"host": host, "className": class_name, "tlsSecretName": secret, "annotations": annotations}
    return {key: value for key, value in asked.items() if value}


def _route(gateway: Fields, host: str | None) -> Json | None:
    parent, place, routed = gateway.text("name"), gateway.text("namespace"), gateway.flag("httpRoutesEnabled")
    if routed is False:
        gateway.tell("httpRoutesEnabled", "false: no HTTPRoute is asked for, so the Gateway is left out")
        return None
    if parent is None:
        if gateway:
            gateway.tell("name", "left out: the Gateway has no name")
        return None
    route: Json = {"parentRefs": [{"name": parent, **({"namespace": place} if place else {})}]}
    return {**route, "hostnames": [host]} if host is not None else route
