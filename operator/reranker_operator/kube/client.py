"""A thin, untyped client over the official one's configuration: objects are JSON here, as the builders make them.

The official client's typed models cost more than half of its throughput, its untyped calls three quarters of a bare
session's (an operator of many services spends most of its time here), and neither has a word for server-side apply's
force and field manager in one place. Its configuration, TLS set-up and token refresh are used as they are.
"""

import contextlib
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client.rest import RESTClientObject
from yarl import URL

from reranker_operator.desired.metadata import FIELD_MANAGER
from reranker_operator.kube.errors import ConflictError, NotFoundError, ServerError, UnreachableError, from_response
from reranker_operator.kube.kinds import Kind

REQUEST_SECONDS = 20.0
WATCH_SECONDS = 300
"""How long the server keeps one watch open; the next one goes on where it ended."""
_PAGE = "200"
_CONNECTIONS = 32
"""For calls at the same time. Watches have others, as many as there are: each holds one for as long as it lasts."""
_APPLY = "application/apply-patch+yaml"
_JSON_PATCH = "application/json-patch+json"
_METADATA = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"

Json = dict[str, Any]
CallObserver = Callable[[str, str, int], None]
"""Told of each request: verb, kind and HTTP status (0 where there was no answer)."""


class Kube:
    """Reads, writes and watches objects; every failure is a `KubeError`."""

    def __init__(
        self, configuration: client.Configuration, on_call: CallObserver = lambda _verb, _kind, _status: None
    ) -> None:
        self._configuration = configuration
        self._on_call = on_call
        self._base = str(configuration.host).rstrip("/")
        rest = RESTClientObject(configuration)  # its TLS context is what we are after
        self._calls, self._watches = (
            # With trust_env, aiohttp looks for a netrc file in a thread at each request.
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=most, ssl=rest.ssl_context), trust_env=False)
            for most in (_CONNECTIONS, 0)  # 0: without limit
        )
        proxy = rest.proxy or _proxy_of(URL(self._base))
        self._more: Json = {"proxy": proxy} if proxy else {}
        if configuration.tls_server_name:
            self._more["server_hostname"] = configuration.tls_server_name

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._watches.close()
        await self._calls.close()

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Json | None:
        """The object, or None where there is none; what cannot be a name names nothing."""
        try:
            path = kind.path(namespace, name)
        except ValueError:
            return None
        try:
            return await self._call("GET", kind, path)
        except NotFoundError:
            return None

    async def find(self, kind: Kind, namespace: str | None, **query: str) -> list[Json]:
        """Objects of a namespace (None: of all), filtered by `labelSelector` and `fieldSelector`."""
        found, _version = await self.list_all(kind, namespace, query)
        return found

    async def list_all(
        self,
        kind: Kind,
        namespace: str | None,
        query: Mapping[str, str],
        *,
        metadata_only: bool = False,
        trim: Callable[[Json], Json] = lambda item: item,
    ) -> tuple[list[Json], str]:
        """Objects, page by page, and the version of the list, where a watch can go on.

        What `trim` leaves out of an object is never in memory for more than a page.

        Raises `GoneError` where the list became too old between two pages.
        """
        accept = _METADATA.format("List") if metadata_only else "application/json"
        found: list[Json] = []
        more: Mapping[str, str] = {"limit": _PAGE}
        while True:
            answer = await self._call("GET", kind, kind.path(namespace), {**more, **query}, accept=accept)
            # A list says once for all what its items are.
            named = {"apiVersion": kind.api_version, "kind": kind.title}
            found += [{**trim(item), **named} for item in answer.get("items") or ()]
            metadata = answer.get("metadata") or {}
            if not metadata.get("continue") or "limit" in query:
                return found, str(metadata.get("resourceVersion", ""))
            more = {"limit": _PAGE, "continue": metadata["continue"]}

    async def watch(
        self,
        kind: Kind,
        namespace: str | None,
        version: str,
        query: Mapping[str, str],
        *,
        metadata_only: bool = False,
    ) -> AsyncGenerator[tuple[str, Json]]:
        """(ADDED | MODIFIED | DELETED | BOOKMARK, object) from `version` on, until the server closes the watch.

        Raises `GoneError` where `version` is too old: list again.
        """
        path = kind.path(namespace)
        accept = _METADATA.format("") if metadata_only else "application/json"
        asked = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
            **query,
        }
        # A server that fell silent is left: bookmarks come every minute, and the end of the watch is known.
        patience = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_SECONDS, sock_read=WATCH_SECONDS + 30)
        async with self._answer("WATCH", kind.title, path, asked, accept=accept, patience=patience) as answer:
            if answer.status != 200:  # noqa: PLR2004 HTTP's own word for success
                raise from_response(answer.status, await answer.text(), answer.headers.get("Retry-After"), path)
            async for line in _lines(answer.content):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise from_response(int(status.get("code") or 500), json.dumps(status), None, f"WATCH {path}")
                yield event["type"], event["object"]

    async def serves(self, kind: Kind) -> bool:
        """Whether the server knows the kind: those of CustomResourceDefinitions come and go."""
        try:
            answer = await self._call("GET", kind, kind.group)
        except NotFoundError:
            return False
        return any(each["name"] == kind.plural for each in answer["resources"])

    async def create(self, document: Json) -> Json | None:
        """Create an object; None where one of its name is there already, which is left as it is."""
        kind, query = Kind.of(document), {"fieldManager": FIELD_MANAGER}
        try:
            return await self._call("POST", kind, kind.path(document["metadata"]["namespace"]), query, body=document)
        except ConflictError:
            return None

    async def apply(self, document: Json, *, manager: str = FIELD_MANAGER, subresource: str | None = None) -> Json:
        """Server-side apply: what `manager` owns becomes exactly `document`, whoever changed it."""
        kind, metadata = Kind.of(document), document["metadata"]
        path = kind.path(metadata.get("namespace"), metadata["name"], subresource)
        query = {"fieldManager": manager, "force": "true"}
        return await self._call("PATCH", kind, path, query, body=document, content=_APPLY)

    async def json_patch(self, kind: Kind, namespace: str, name: str, operations: list[Json]) -> Json:
        """RFC 6902 operations, all or none."""
        query = {"fieldManager": FIELD_MANAGER}
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
        read = bytearray()
        patience = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        async with self._answer("GET", "text", path, query, accept="*/*", patience=patience) as answer:
            async for chunk in answer.content.iter_any():
                read += chunk
                if len(read) > most:
                    break
        cut = len(read) > most
        text = bytes(read[: read.rfind(b"\n", 0, most) + 1] if cut else read).decode(errors="replace")
        if not 200 <= answer.status < 300:  # noqa: PLR2004 HTTP's own bounds
            raise from_response(answer.status, text, answer.headers.get("Retry-After"), f"GET {path}")
        return text, cut

    async def _call(
        self,
        method: str,
        kind: Kind,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: Any = None,
        content: str = "application/json",
        accept: str = "application/json",
    ) -> Json:
        what = f"{method} {path}"
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        async with self._answer(
            method, kind.title, path, query, body=body, content=content, accept=accept, patience=timeout
        ) as answer:
            text = await answer.read()
        if not 200 <= answer.status < 300:  # noqa: PLR2004 HTTP's own bounds
            words = text.decode(errors="replace")
            raise from_response(answer.status, words, answer.headers.get("Retry-After"), what)
        try:
            result: Json = json.loads(text)
        except ValueError as error:
            raise ServerError(f"{what}: the answer is not JSON: {text[:100]!r}", status=answer.status) from error
        return result

    @contextlib.asynccontextmanager
    async def _answer(
        self,
        method: str,
        what: str,
        path: str,
        query: Mapping[str, str] | None,
        *,
        patience: aiohttp.ClientTimeout,
        accept: str,
        body: Any = None,
        content: str = "application/json",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to one request, counted; whatever goes wrong on the way is an `UnreachableError`."""
        headers = {"Accept": accept, "Content-Type": content, **await self._identity()}
        # As characters, not as escapes: a body to be applied is read as YAML, which knows no surrogates.
        data = None if body is None else json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
        # Paths are checked by `Kind.path`; quoting them again would cost more than sending them.
        url = URL(self._base + path, encoded=True)
        status = 0
        watches = method == "WATCH"
        session = self._watches if watches else self._calls
        try:
            async with session.request(
                "GET" if watches else method,
                url.with_query(query) if query else url,
                data=data,
                headers=headers,
                timeout=patience,
                **self._more,
            ) as answer:
                status = answer.status
                yield answer
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            words = str(error) or f"no answer within {patience.total or patience.sock_read:g} s"
            raise UnreachableError(f"{method} {path}: {words}") from error
        finally:
            self._on_call(method, what, status)

    async def _identity(self) -> dict[str, str]:
        """Who we are; tokens of ServiceAccounts are rotated, and read again by the official client's hook."""
        header = (await self._configuration.auth_settings()).get("BearerToken")
        return {"Authorization": str(header["value"])} if header is not None else {}


def _proxy_of(server: URL) -> str | None:
    """What HTTPS_PROXY and NO_PROXY say of the API server."""
    if server.host is None or proxy_bypass_environment(server.host):
        return None
    return getproxies_environment().get(server.scheme)


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Whole lines, however long: an object may have a megabyte, and a reader of lines a limit below."""
    parts: list[bytes] = []
    async for chunk in content.iter_any():
        *ended, rest = chunk.split(b"\n")
        for end in ended:
            line = b"".join((*parts, end))
            parts = []
            if line:
                yield line
        if rest:
            parts.append(rest)


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
