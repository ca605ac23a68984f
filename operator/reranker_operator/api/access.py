"""`spec.authentication` and `spec.tls`: who may rank, and over what."""

from reranker_operator.api.base import ApiType, Rule
from reranker_operator.api.names import ObjectName


class SecretReference(ApiType):
    """A Secret of the same namespace."""

    name: ObjectName
    """Name of the Secret."""


class Authentication(ApiType):
    """The keys that clients must send, as `Authorization: Bearer KEY` or in the header X-API-Key."""

    api_keys_secret: SecretReference | None = None
    """A Secret whose entries are client name -> key, or several keys, one a line. Changes need no restart."""
    generate: bool = False
    """Make a Secret NAME-api-keys with a first key, under the entry `default`. It is never written over."""

    rules = (
        Rule(
            cel="has(self.apiKeysSecret) != self.generate",
            message="name a Secret in apiKeysSecret, or say generate: true, and not both",
            holds=lambda each: (each.api_keys_secret is None) == each.generate,
        ),
    )


class Tls(ApiType):
    """TLS on the API port; probes and monitoring use the internal port, which is plain HTTP inside the cluster."""

    secret_name: ObjectName
    """A Secret of type kubernetes.io/tls. A renewed certificate is taken up without a restart."""
