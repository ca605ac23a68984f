"""Requests to this machine's own addresses: never through a proxy that the environment names for all others."""

import ssl
import urllib.request
from http.client import HTTPResponse

NO_PROXY = {"NO_PROXY": "*", "no_proxy": "*"}
"""For children, all of which talk to loopback addresses only."""


def ask(
    request: urllib.request.Request | str, *, timeout: float, context: ssl.SSLContext | None = None
) -> HTTPResponse:
    """`urlopen` without proxies."""
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    answer: HTTPResponse = urllib.request.build_opener(*handlers).open(request, timeout=timeout)
    return answer
