"""What a container that downloads is told of the way out: proxies, and certificates to trust."""

from typing import Any

from reranker_operator import contract
from reranker_operator.api import RerankerService
from reranker_operator.api.proxy import DefaultProxy
from reranker_operator.desired.metadata import PROXY, digest


def proxy_variables(service: RerankerService) -> list[dict[str, Any]]:
    """Variables of the container, in the names that curl's and Python's libraries share."""
    asked = service.spec.proxy
    if asked is None:
        return []
    values = {"HTTP_PROXY": asked.http, "HTTPS_PROXY": asked.https, "NO_PROXY": asked.no_proxy}
    if asked.ca_config_map is not None:
        file = f"{contract.CA_MOUNT}/{asked.ca_config_map.key}"
        values |= {"SSL_CERT_FILE": file, "REQUESTS_CA_BUNDLE": file}
    return [{"name": name, "value": value} for name, value in values.items() if value is not None]


def ca_volumes(service: RerankerService) -> list[dict[str, Any]]:
    """The ConfigMap with the certificates, as a directory, so that it is renewed."""
    asked = service.spec.proxy
    if asked is None or asked.ca_config_map is None:
        return []
    return [{"name": contract.CA_VOLUME, "configMap": {"name": asked.ca_config_map.name}}]


def ca_mounts(service: RerankerService) -> list[dict[str, Any]]:
    """Where the container sees it."""
    return [{"name": each["name"], "mountPath": contract.CA_MOUNT, "readOnly": True} for each in ca_volumes(service)]


def as_said(service: RerankerService) -> RerankerService:
    """The service without what the operator has filled in."""
    if not isinstance(service.spec.proxy, DefaultProxy):
        return service
    return service.model_copy(update={"spec": service.spec.model_copy(update={"proxy": None})})


def proxy_note(service: RerankerService) -> dict[str, str]:
    """The annotation of what was made with the operator's default, which may change while the spec does not."""
    asked = service.spec.proxy
    return {PROXY: digest(asked.model_dump(mode="json"))} if isinstance(asked, DefaultProxy) else {}
