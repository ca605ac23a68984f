"""The archive for a bug report: the report, each object as it is, each log, each pod's metrics."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from reranker_operator.diagnose.files import write_private
from reranker_operator.diagnose.gather import Gathered, Log
from reranker_operator.diagnose.reader import Json
from reranker_operator.diagnose.redact import Redactor


def write_archive(path: Path, found: Gathered, report: str, redactor: Redactor) -> int:
    """Write the archive; returns the number of files in it. Raises OSError.

    It is readable by its owner only: logs and specs are nobody else's business, whatever was taken out of them.
    """
    packed, names = io.BytesIO(), []
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in _files(found, report):
            content = redactor.text(text).encode()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = len(content), int(found.at.timestamp()), 0o600
            archive.addfile(entry, io.BytesIO(content))
            names.append(name)
    write_private(path, packed.getvalue())
    return len(names)


def _files(found: Gathered, report: str) -> Iterator[tuple[str, str]]:
    yield "report.txt", report
    documents = [found.service, *found.found, *found.shown_pods]
    documents += [each.answer.value for each in found.named.value or () if each.answer.value is not None]
    documents += [answer.value for answer in found.secrets.values() if answer.value is not None]
    yield from _objects("", documents)
    yield "events.yaml", _yaml(found.events.value or [])
    yield from _logs("", found.logs)
    for pod, answer in found.metrics.items():
        yield f"metrics/{pod}.txt", answer.value if answer.value is not None else f"not read: {answer.problem}\n"
    operator = found.operator
    lease = [operator.lease.value] if operator.lease.value is not None else []
    yield from _objects("operator/", [*(operator.deployments.value or ()), *(operator.pods.value or ()), *lease])
    yield from _logs("operator/", operator.logs)


def _objects(folder: str, documents: list[Json]) -> Iterator[tuple[str, str]]:
    """Each once: a claim may be a child and be referred to as well."""
    named = {f"{folder}objects/{each['kind']}-{each['metadata']['name']}.yaml": each for each in documents}
    for name, document in named.items():
        yield name, _yaml(document)


def _logs(folder: str, logs: list[Log]) -> Iterator[tuple[str, str]]:
    for each in logs:
        previous = ".previous" if each.previous else ""
        text = each.answer.value if each.answer.value is not None else f"not read: {each.answer.problem}\n"
        yield f"{folder}logs/{each.pod}-{each.container}{previous}.log", text


def _yaml(document: Any) -> str:
    return yaml.dump(document, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=10**6)


class _Plain(yaml.SafeDumper):
    """Writes shared parts in full, as kubectl does."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True
