"""A small asynchronous client of the Kubernetes API.

The kubelet, the addons and the fixtures need a handful of verbs on plain JSON and watches that survive disconnections.
The official client's thousand models take seconds of processor time to import in every process, so this speaks HTTP
itself.
"""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import yaml

Json = dict[str, Any]

_MERGE = "application/merge-patch+json"
_STRATEGIC = "application/strategic-merge-patch+json"
_APPLY = "application/apply-patch+yaml"
_GONE = 410
_TOO_MANY = 429
_TRIES = 20


class ApiError(Exception):
    """The API server refused. `code` is the HTTP status; `reason` is Kubernetes' own word, such as `NotFound`.

    Where it could not be reached, the code is 0 and the reason `Unreachable`.
    """

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason


class Api:
    """A connection to the API server that a kubeconfig names, for one event loop."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        token = config["users"][0]["user"]["token"]
        self.server: str = cluster["server"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {token}"},
            connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=authority), limit=0),
            timeout=aiohttp.ClientTimeout(total=30),
        )
        self._resources: dict[tuple[str, str], tuple[str, bool]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connections."""
        await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        content_type: str = "application/json",
        params: Mapping[str, str] | None = None,
    ) -> Any:
        """One call; the answer's JSON (or its text, where it is none). Raises ApiError."""
        # Written as they are: YAML, which an apply is read as, knows no escapes for characters beyond U+FFFF.
        data = None if body is None else json.dumps(body, ensure_ascii=False)
        headers = {"Content-Type": content_type} if data else {}
        for tries_left in reversed(range(_TRIES)):
            call = self._session.request(method, self.server + path, data=data, headers=headers, params=params)
            try:
                async with call as answer:
                    text = await answer.text()
            except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
                raise ApiError(0, "Unreachable", f"{method} {path}: {error or type(error).__name__}") from None
            if answer.status != _TOO_MANY or not tries_left:
                break
            # As every client does: it is busy, or makes room for a CRD that has changed.
            await asyncio.sleep(float(answer.headers.get("Retry-After", 1)))
        if answer.status >= 400:
            raise _error(answer.status, text)
        return json.loads(text) if answer.content_type == "application/json" else text

    async def get(self, path: str) -> Json:
        """Read one object, or a list."""
        result: Json = await self.request("GET", path)
        return result

    async def find(self, path: str) -> Json | None:
        """Read one object; None where there is none."""
        try:
            return await self.get(path)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def create(self, path: str, body: Json) -> Json:
        """POST."""
        result: Json = await self.request("POST", path, body=body)
        return result

    async def merge(self, path: str, body: Json) -> Json:
        """JSON merge patch."""
        result: Json = await self.request("PATCH", path, body=body, content_type=_MERGE)
        return result

    async def patch_status(self, path: str, status: Json) -> Json:
        """Strategic merge patch of an object's status: conditions of others stay."""
        body = {"status": status}
        result: Json = await self.request("PATCH", f"{path}/status", body=body, content_type=_STRATEGIC)
        return result

    async def delete(self, path: str, options: Json | None = None) -> None:
        """DELETE; what is not there is no error."""
        try:
            await self.request("DELETE", path, body=options)
        except ApiError as error:
            if error.code != 404:
                raise

    async def apply(self, body: Json, manager: str = "localkube") -> Json:
        """Server-side apply of any object of a kind that the server knows."""
        path = await self.path_of(body)
        result: Json = await self.request(
            "PATCH", path, body=body, content_type=_APPLY, params={"fieldManager": manager, "force": "true"}
        )
        return result

    async def path_of(self, body: Json) -> str:
        """Where an object lives, by its apiVersion, kind and metadata."""
        metadata = body["metadata"]
        collection = await self.collection(body["apiVersion"], body["kind"], metadata.get("namespace"))
        return f"{collection}/{metadata['name']}"

    async def collection(self, version: str, kind: str, namespace: str | None) -> str:
        """Where the objects of a kind live, in one namespace if the kind has namespaces (default: `default`)."""
        root = f"/api/{version}" if "/" not in version else f"/apis/{version}"
        if (version, kind) not in self._resources:
            listing = await self.get(root)
            for entry in listing["resources"]:
                if "/" not in entry["name"]:
                    self._resources[version, entry["kind"]] = (entry["name"], entry["namespaced"])
        try:
            plural, namespaced = self._resources[version, kind]
        except KeyError:
            raise ApiError(404, "NotFound", f"the server has no kind {kind} in {version}") from None
        return f"{root}/namespaces/{namespace or 'default'}/{plural}" if namespaced else f"{root}/{plural}"

    async def watch(self, path: str, *, field: str = "", label: str = "") -> AsyncIterator[tuple[str, Json]]:
        """All objects of a collection, then every change to them, for ever.

        Gives pairs of `ADDED`, `MODIFIED` or `DELETED` and the object. After a disconnection everything is read again,
        and an object that went away meanwhile comes as `DELETED` with the last state seen. An empty object with
        `SYNCED` says that the first reading is complete.
        """
        selector = {key: value for key, value in (("fieldSelector", field), ("labelSelector", label)) if value}
        known: dict[str, Json] = {}
        while True:
            try:
                listing = await self.request("GET", path, params=selector)
                fresh = {item["metadata"]["uid"]: item for item in listing["items"]}
                for uid in [uid for uid in known if uid not in fresh]:
                    yield "DELETED", known.pop(uid)
                for uid, item in fresh.items():
                    kind = "MODIFIED" if uid in known else "ADDED"
                    known[uid] = item
                    yield kind, item
                yield "SYNCED", {}
                version = listing["metadata"]["resourceVersion"]
                async for kind, item in self._stream(path, {**selector, "resourceVersion": version}):
                    uid = item["metadata"]["uid"]
                    if kind == "DELETED":
                        known.pop(uid, None)
                    else:
                        known[uid] = item
                    yield kind, item
            except (aiohttp.ClientError, OSError, ValueError, ApiError):  # ValueError: a line cut off
                await asyncio.sleep(0.5)

    async def _stream(self, path: str, params: Mapping[str, str]) -> AsyncIterator[tuple[str, Json]]:
        """One watch connection's events until it ends; bookmarks are left out."""
        query = {**params, "watch": "true", "timeoutSeconds": "300"}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with self._session.get(
            self.server + path, params=query, timeout=timeout, read_bufsize=8 * 1024 * 1024
        ) as answer:
            if answer.status >= 400:
                raise _error(answer.status, await answer.text())
            async for line in answer.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise ApiError(status.get("code", _GONE), status.get("reason", ""), status.get("message", ""))
                if event["type"] != "BOOKMARK":
                    yield event["type"], event["object"]


def _error(code: int, text: str) -> ApiError:
    try:
        status = json.loads(text)
        return ApiError(code, status.get("reason", ""), status.get("message", text))
    except (ValueError, AttributeError):
        return ApiError(code, "", text[:500])


def write_kubeconfig(path: Path, server: str, authority: Path, token: str, *, name: str = "localkube") -> Path:
    """A kubeconfig with one cluster and one user, who shows a token; readable by its owner only."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": name,
                "cluster": {
                    "server": server,
                    "certificate-authority-data": base64.b64encode(authority.read_bytes()).decode(),
                },
            }
        ],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path
