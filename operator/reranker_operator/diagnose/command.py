"""From a kubeconfig to a report: connect, find the service, gather, redact, write."""

import asyncio
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from kubernetes.aio import client, config

from reranker_operator.api import KIND
from reranker_operator.diagnose.archive import write_archive
from reranker_operator.diagnose.gather import gather, redacted
from reranker_operator.diagnose.reader import Answer, Json, Reader
from reranker_operator.diagnose.report import report
from reranker_operator.kube import Kind, Kube
from reranker_operator.kube.client import load_configuration

SECONDS = 60.0
"""A report takes at most about so long: what was not read by then is said to be missing."""
_CONNECT_SECONDS = 20.0
"""For a kubeconfig's credential plugin, which may ask a person to log in elsewhere."""
_MOST_NAMES = 20


@dataclass(frozen=True)
class Request:
    """The command line of `diagnose`."""

    namespace: str
    name: str
    operator_namespace: str
    tail: int
    context: str | None
    archive: Path | None


class _Complaints(logging.Handler):
    """What the official client logs of a credential plugin that fails, before it goes on as nobody."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(record.getMessage())

    def check(self) -> None:
        """Raises `ConfigException` where there was one."""
        if self._said:
            raise config.ConfigException("; ".join(self._said))


class DiagnoseError(Exception):
    """There is nothing to report on; the message is one line for the person who asked."""


async def diagnose(request: Request) -> str:
    """The report; writes the archive, if one is asked for. Raises `DiagnoseError`, and OSError for the archive."""
    configuration, token = await _connection(request.context)
    async with Kube(configuration) as kube:
        reader = Reader.for_seconds(kube, SECONDS)
        service = await _service(reader, request, configuration.host)
        found, redactor = redacted(await gather(reader, service, request.operator_namespace, request.tail), token)
    text = report(found, redactor)
    if request.archive is not None:
        write_archive(request.archive, found, text, redactor)
    return text


async def _connection(context: str | None) -> tuple[client.Configuration, str | None]:
    """Where the server is, and the token that it shows to the server, if it shows one."""
    complaints = _Complaints()
    logging.getLogger("kubernetes").addHandler(complaints)
    try:
        configuration = await asyncio.wait_for(load_configuration(context), _CONNECT_SECONDS)
        complaints.check()
        header = (await configuration.auth_settings()).get("BearerToken")
        token = str(header["value"]).rpartition(" ")[2] if header is not None else None
    except config.ConfigException as error:
        words = str(error)
    except TimeoutError:
        words = f"its credentials did not come within {_CONNECT_SECONDS:g} s"
    except Exception as error:  # noqa: BLE001 a file of somebody's own can be wrong in every way
        words = f"it cannot be used as it is ({type(error).__name__}: {error})"
    else:
        return configuration, token
    named = os.environ.get("KUBECONFIG") or "~/.kube/config"
    raise DiagnoseError(f"no way to reach a cluster with kubeconfig {named}: {' '.join(words.split())}")


async def _service(reader: Reader, request: Request, host: str) -> Json:
    """The service. Raises `DiagnoseError` that says what there is instead."""
    what = f"{KIND} {request.namespace}/{request.name}"
    answer = await reader.get(Kind.RERANKER_SERVICE, request.namespace, request.name)
    if answer.value is not None:
        return answer.value
    if not answer.absent:
        raise DiagnoseError(f"{what} cannot be read from {host}: {answer.problem}")
    serves: Answer[bool] = await reader.ask(reader.kube.serves(Kind.RERANKER_SERVICE))
    if serves.value is False:
        raise DiagnoseError(f"{host} serves no {KIND}: the operator's CRD is not installed there; apply crds/")
    there = await reader.find(Kind.RERANKER_SERVICE, request.namespace, _MOST_NAMES + 1)
    raise DiagnoseError(f"{what} does not exist; {_instead(request, there)}")


def _instead(request: Request, there: Answer[list[Json]]) -> str:
    if there.value is None:
        return f"which ones there are cannot be told: {there.problem}"
    names = [each["metadata"]["name"] for each in there.value]
    if not names:
        return f"namespace {request.namespace} holds none: kubectl get rerankerservices -A lists them all"
    more = " and others" if len(names) > _MOST_NAMES else ""
    return f"namespace {request.namespace} holds {', '.join(names[:_MOST_NAMES])}{more}"
