"""`spec.proxy`: the way out to what is downloaded."""

from typing import Annotated, Any, ClassVar

from pydantic import StringConstraints, ValidationError

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

    said_in: ClassVar[str] = "spec.proxy"
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


class DefaultProxy(Proxy):
    """The operator's own, for services that download and name none."""

    said_in = "the operator's default of spec.proxy"

    @classmethod
    def of(cls, http: str | None, https: str | None, no_proxy: str | None, ca: str | None) -> "DefaultProxy | None":
        """From the command line, where an empty value is none; `ca` is CONFIGMAP or CONFIGMAP/KEY.

        Raises `ValueError` naming what does not fit.
        """
        said = {"http": http, "https": https, "noProxy": no_proxy}
        wanted: dict[str, Any] = {name: value for name, value in said.items() if value}
        if ca:
            name, _, key = ca.partition("/")
            wanted["caConfigMap"] = {"name": name} | ({"key": key} if key else {})
        try:
            return cls.model_validate(wanted) if wanted else None
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False)
            fields = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in found)
            raise ValueError(f"{cls.said_in}: {'; '.join(fields)}") from None
