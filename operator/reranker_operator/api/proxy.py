"""`spec.proxy`: the way out to what is downloaded."""

from typing import Annotated

from pydantic import StringConstraints

from reranker_operator.api.base import ApiType, Rule
from reranker_operator.api.names import DataKey, ObjectName, Url


class CaConfigMap(ApiType):
    """A key of a ConfigMap of the same namespace, with certificates in PEM."""

    name: ObjectName
    """Name of the ConfigMap."""
    key: DataKey = "ca.crt"
    """Its key. It takes the place of the image's own certificates: put all into it that are needed."""


class Proxy(ApiType):
    """The way out for downloads: of a huggingFace source, and of NVIDIA's image (whose server.env wins over it)."""

    http: Url | None = None
    """Proxy for http:// URLs (HTTP_PROXY)."""
    https: Url | None = None
    """Proxy for https:// URLs (HTTPS_PROXY)."""
    no_proxy: Annotated[str, StringConstraints(pattern=r"^[^\s]+$", max_length=4096)] | None = None
    """Hosts, domains and networks that are reached directly, by comma (NO_PROXY)."""
    ca_config_map: CaConfigMap | None = None
    """Certificates to trust, of a proxy or a mirror (SSL_CERT_FILE, REQUESTS_CA_BUNDLE)."""

    rules = (
        Rule(
            cel="has(self.http) || has(self.https) || has(self.noProxy) || has(self.caConfigMap)",
            message="say at least one of http, https, noProxy and caConfigMap, or leave proxy out",
            holds=lambda proxy: any((proxy.http, proxy.https, proxy.no_proxy, proxy.ca_config_map)),
        ),
    )
