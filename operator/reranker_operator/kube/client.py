"""A thin, untyped client over the official one's connection: objects are JSON here, as the builders make them.

The official client's typed models cost more than half of its throughput, drop fields newer than themselves, and have
no word for server-side apply's force and field manager in one place. Its configuration, token refresh and connection
pool are used as they are.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio import client, config

from reranker_operator.desired.metadata import FIELD_MANAGER
from reranker_operator.kube.errors import ConflictError, NotFoundError, ServerError, UnreachableError, from_response
from reranker_operator.kube.kinds import Kind

REQUEST_SECONDS = 20.0
_APPLY = "application/apply-patch+yaml"
_JSON_PATCH = "application/json-patch+json"

CallObserver = Callable[[str, str, int], None]
"""Told of each request: verb, kind and HTTP status (0 where there was no answer)."""


class Kube:
    """Reads and writes objects; every failure is a `KubeError`."""

    def __init__(self, api: client.ApiClient, on_call: CallObserver = lambda _verb, _kind, _status: None) -> None:
        self._api = api
        self._on_call = on_call

    async def get(self, kind: Kind, namespace: str | None, name: str) -> dict[str, Any] | None:
        """The object, or None where there is none; what cannot be a name names nothing."""
        try:
            path = kind.path(namespace, name)
        except ValueError:
            return None
        try:
            return await self._call("GET", kind, path)
        except NotFoundError:
            return None

    async def find(self, kind: Kind, namespace: str | None, **query: str) -> list[dict[str, Any]]:
        """Objects of a namespace (None: of all), filtered by `labelSelector` and `fieldSelector`."""
        answer = await self._call("GET", kind, kind.path(namespace), list(query.items()))
        # A list says once for all what its items are.
        named = {"apiVersion": answer["apiVersion"], "kind": kind.title}
        return [{**named, **item} for item in answer["items"]]

    async def serves(self, kind: Kind) -> bool:
        """Whether the server knows the kind: those of CustomResourceDefinitions come and go."""
        try:
            answer = await self._call("GET", kind, kind.group)
        except NotFoundError:
            return False
        return any(each["name"] == kind.plural for each in answer["resources"])

    async def create(self, document: dict[str, Any]) -> bool:
        """Create an object; False where one of its name is there already, which is left as it is."""
        kind = Kind.of(document)
        try:
            await self._call("POST", kind, kind.path(document["metadata"]["namespace"]), body=document)
        except ConflictError:
            return False
        return True

    async def apply(
        self, document: dict[str, Any], *, manager: str = FIELD_MANAGER, subresource: str | None = None
    ) -> dict[str, Any]:
        """Server-side apply: what `manager` owns becomes exactly `document`, whoever changed it."""
        kind, metadata = Kind.of(document), document["metadata"]
        path = kind.path(metadata.get("namespace"), metadata["name"], subresource)
        query = [("fieldManager", manager), ("force", "true")]
        return await self._call("PATCH", kind, path, query, body=document, content=_APPLY)

    async def json_patch(
        self, kind: Kind, namespace: str, name: str, operations: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """RFC 6902 operations, all or none."""
        query = [("fieldManager", FIELD_MANAGER)]
        return await self._call("PATCH", kind, kind.path(namespace, name), query, body=operations, content=_JSON_PATCH)

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str) -> None:
        """Delete this very object and, in the background, what it owns; one that is gone already is fine."""
        options = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            await self._call("DELETE", kind, kind.path(namespace, name), body=options)
        except NotFoundError:
            return

    async def text(self, path: str, *, most: int, **query: str) -> tuple[str, bool]:
        """The answer to a GET of what is no object, such as a pod's log, and whether it was cut.

        At most `most` bytes are read; of a line that is cut there nothing is returned. What is no UTF-8 becomes U+FFFD.
        """
        request = await self._api.param_serialize(
            "GET",
            path,
            query_params=list(query.items()),
            header_params={"Accept": "*/*"},
            auth_settings=["BearerToken"],
        )
        status, read = 0, bytearray()
        try:
            answer = await self._api.call_api(*request, _request_timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS))
            async with answer.response as response:
                async for chunk in response.content.iter_any():
                    read += chunk
                    if len(read) > most:
                        break
            status = response.status
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            reason = str(error) or f"no answer within {REQUEST_SECONDS:g} s"
            raise UnreachableError(f"GET {path}: {reason}") from error
        finally:
            self._on_call("GET", "text", status)
        cut = len(read) > most
        text = bytes(read[: read.rfind(b"\n", 0, most) + 1] if cut else read).decode(errors="replace")
        if not 200 <= status < 300:  # noqa: PLR2004 HTTP's own bounds
            raise from_response(status, text, response.headers.get("Retry-After"), f"GET {path}")
        return text, cut

    async def _call(
        self,
        method: str,
        kind: Kind,
        path: str,
        query: list[tuple[str, str]] | None = None,
        *,
        body: Any = None,
        content: str = "application/json",
    ) -> dict[str, Any]:
        what = f"{method} {path}"
        headers = {"Accept": "application/json", "Content-Type": content}
        request = await self._api.param_serialize(
            method, path, query_params=query or [], header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        status = 0
        try:
            answer = await self._api.call_api(*request, _request_timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS))
            status, text = answer.status, (await answer.response.read()).decode()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            reason = str(error) or f"no answer within {REQUEST_SECONDS:g} s"
            raise UnreachableError(f"{what}: {reason}") from error
        finally:
            self._on_call(method, kind.title, status)
        if not 200 <= status < 300:  # noqa: PLR2004 HTTP's own bounds
            raise from_response(status, text, answer.headers.get("Retry-After"), what)
        try:
            result: dict[str, Any] = json.loads(text)
        except ValueError as error:
            raise ServerError(f"{what}: the answer is not JSON: {text[:100]!r}", status=status) from error
        return result


async def load_configuration(context: str | None = None) -> client.Configuration:
    """Where the API server is and who we are: the pod's ServiceAccount in a cluster, else KUBECONFIG.

    `context` is one of the kubeconfig's other than its current one. Raises `ConfigException` where neither is there or
    usable.
    """
    configuration = client.Configuration()
    if os.environ.get("KUBERNETES_SERVICE_HOST") and not os.environ.get("KUBECONFIG") and context is None:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        return configuration
    _require_kubeconfig()
    await config.load_kube_config(context=context, client_configuration=configuration)  # type: ignore[no-untyped-call]
    return configuration


def _require_kubeconfig() -> None:
    named = os.environ.get("KUBECONFIG") or "~/.kube/config"
    if not any(Path(part).expanduser().is_file() for part in named.split(os.pathsep)):
        raise config.ConfigException(
            f"this is no pod with a ServiceAccount, and {named} does not exist; set KUBECONFIG"
        )
