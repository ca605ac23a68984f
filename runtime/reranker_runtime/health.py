"""`reranker-runtime health`: asks the server of this container over loopback, as its image has no curl."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Final

from reranker_runtime.settings import Settings

SECONDS: Final = 3.0
ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1", "[::]": "::1"}  # asked, not listened on  # nosec B104
"""Where a server that listens on every address is asked."""


def ask(settings: Settings, *, live: bool) -> tuple[bool, str]:
    """Whether the server that these settings describe is ready (or alive), and one line that says so or why not."""
    host = ANYWHERE.get(settings.host, settings.host)
    port = settings.internal_port or settings.port
    path = "/v1/health/live" if live else "/v1/health/ready"
    where = f"{host}:{port}{path}"
    connection = _connection(settings, host, port)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = _message(answer.read())
    except (OSError, http.client.HTTPException) as error:
        return False, f"no answer from {where}: {error}; is `reranker-runtime serve` running, with the same settings?"
    finally:
        connection.close()
    return answer.status == http.HTTPStatus.OK, f"{where} answered {answer.status}: {text}"


def _connection(settings: Settings, host: str, port: int) -> http.client.HTTPConnection:
    if settings.internal_port or settings.tls_cert is None:
        return http.client.HTTPConnection(host, port, timeout=SECONDS)
    # Without an internal port the API's is asked; its certificate is for clients' names, and this is loopback.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=SECONDS, context=context)


def _message(body: bytes) -> str:
    try:
        return " ".join(str(json.loads(body)["message"]).split())
    except (ValueError, KeyError, TypeError):
        return " ".join(body.decode(errors="replace").split())
