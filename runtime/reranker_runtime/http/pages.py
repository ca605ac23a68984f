"""Pages for people: an index or the playground at /, the browsable API at /docs. None loads anything from elsewhere.

A page is one answer: its styles and scripts stand in it, and the Content-Security-Policy names exactly those by their
digests, so that nothing else can run, whatever a passage holds. Swagger UI's files, too large for that, are served at
three exact paths out of the installed package `fastapi-offline`, which is found but never imported. All addresses in
the pages are relative: a reverse proxy may serve them below a prefix.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from reranker_runtime.errors import InvalidRequest
from reranker_runtime.service import Service

STATIC: Final = Path(__file__).parent / "static"
PACKAGE: Final = "fastapi_offline"
SWAGGER: Final = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon.png": "image/png",
}
"""What /docs loads out of the package's folder `static`."""
PART: Final = re.compile(r"<!--(style|script) ([\w. -]+)-->")
HEADERS: Final = {
    "Cache-Control": "no-cache",  # kept, but asked for again each time: a new release shows at once
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
NOTHING: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
# No Trusted Types policy may be made, so no text can become markup: the browser refuses innerHTML and its like.
NO_MARKUP: Final = "trusted-types 'none'; require-trusted-types-for 'script'"
POLICIES: Final = {
    "index.html": f"{NOTHING}; {NO_MARKUP}; img-src data:; style-src {{styles}}",
    "playground.html": f"{NOTHING}; {NO_MARKUP}; img-src data:; connect-src 'self'; "
    "style-src {styles}; script-src {scripts}",
    # Swagger UI makes markup from descriptions, which are ours.
    "docs.html": f"{NOTHING}; img-src 'self' data:; connect-src 'self'; "
    "style-src 'self' {styles}; script-src 'self' {scripts}",
}
"""The pages and what each may do; the digests of its own styles and scripts are put in."""


@dataclass(frozen=True)
class Page:
    """A page as it is sent."""

    body: bytes
    headers: dict[str, str]


class PageRoutes:
    """Handlers over one service."""

    def __init__(self, service: Service) -> None:
        self._start = "playground.html" if service.settings.playground else "index.html"

    def router(self) -> APIRouter:
        router = APIRouter()
        routes: dict[str, Callable[[Request], Awaitable[Response]]] = {"/": self.start, "/docs": self.docs}
        routes |= {f"/docs/{name}": partial(self.swagger, name) for name in SWAGGER}
        for path, handler in routes.items():
            router.add_route(path, handler, methods=["GET"], include_in_schema=False)  # HEAD comes with GET
        return router

    async def start(self, request: Request) -> Response:
        """The playground where it is switched on, else what is where."""
        return await _send(request, self._start)

    async def docs(self, request: Request) -> Response:
        """The browsable description of the API."""
        return await _send(request, "docs.html")

    async def swagger(self, name: str, request: Request) -> Response:
        """One of Swagger UI's files; `InvalidRequest` (404) where the package is not installed."""
        path = await asyncio.to_thread(_swagger_file, name)
        answer = FileResponse(path, media_type=SWAGGER[name], headers=HEADERS, stat_result=path.stat())
        return _unless_known(request, answer)


async def _send(request: Request, name: str) -> Response:
    page = await asyncio.to_thread(_page, name)  # which reads files the first time
    return _unless_known(request, Response(page.body, media_type="text/html", headers=page.headers))


def _unless_known(request: Request, answer: Response) -> Response:
    # The caller has this very version.
    if request.headers.get("if-none-match") != answer.headers["etag"]:
        return answer
    kept = {
        name: value for name, value in answer.headers.items() if not name.startswith(("content-length", "content-type"))
    }
    return Response(status_code=304, headers=kept)


@cache
def _page(name: str) -> Page:
    digests: dict[str, list[str]] = {"style": [], "script": []}

    def put_in(found: re.Match[str]) -> str:
        tag, names = found.groups()
        text = "\n" + "".join((STATIC / name).read_text("utf-8") for name in names.split())
        digests[tag].append(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'")
        return f"<{tag}>{text}</{tag}>"

    body = PART.sub(put_in, (STATIC / name).read_text("utf-8")).encode()
    policy = POLICIES[name].format(styles=" ".join(digests["style"]), scripts=" ".join(digests["script"]))
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return Page(body, HEADERS | {"Content-Security-Policy": policy, "ETag": etag})


@cache
def _swagger_file(name: str) -> Path:
    found = find_spec(PACKAGE)  # of a package at the top: nothing is imported
    path = Path(found.origin).parent / "static" / name if found and found.origin else None
    if path is None or not path.is_file():
        raise InvalidRequest(
            f"Swagger UI's {name} is not here: the Python package {PACKAGE.replace('_', '-')} is not installed beside "
            "this server, or lacks it. Install it, or read /openapi.json",
            status=404,
        )
    return path
