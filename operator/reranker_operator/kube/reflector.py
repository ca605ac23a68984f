"""Keeps a store like the server: list, then watch from there, again whenever the watch cannot go on.

kopf watches whole kinds; here a label selector lets the server send only what is ours, and `metadata_only` lets it
leave out the values of Secrets.
"""

import asyncio
import enum
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from reranker_operator.kube.client import Kube
from reranker_operator.kube.errors import (
    ForbiddenError,
    GoneError,
    KubeError,
    NotFoundError,
    NotListedError,
    UnreachableError,
)
from reranker_operator.kube.kinds import Kind
from reranker_operator.kube.store import Change, Store

RELIST_SECONDS: Final = 3600.0
"""Even a watch that seems well is replaced by a list this often, give or take a quarter."""
ABSENT_SECONDS: Final = 10.0
"""How often a kind that the server does not know, or that may not be read, is asked for again."""
WELL_SECONDS: Final = 5.0
"""A watch that lasted longer had begun well: what ended it is tried again at once."""
PATIENCE_SECONDS: Final = 10.0
"""How long after its start a reflector is waited for by those that need to know something of its kind."""
_FIRST_RETRY_SECONDS: Final = 0.2
_LAST_RETRY_SECONDS: Final = 5.0

_log = logging.getLogger(__name__)


class Knowledge(enum.Enum):
    """What the store's content is worth."""

    NONE = "none"
    """Nothing was listed yet."""
    WHOLE = "whole"
    """Everything there is, as of a moment ago."""
    UNSERVED = "unserved"
    """The server does not know the kind."""
    FORBIDDEN = "forbidden"
    """The operator may not read it."""


@dataclass
class Reflector:
    """One kind in one namespace (None: all)."""

    kube: Kube
    kind: Kind
    namespace: str | None
    store: Store
    on_change: Callable[[Kind, list[Change]], None]
    on_knowledge: Callable[[Kind], None] = lambda _kind: None
    """Told when the kind begins or ceases to be served or allowed."""
    selector: str | None = None
    metadata_only: bool = False
    knowledge: Knowledge = Knowledge.NONE
    listing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    """Shared by those that take turns in listing: all kinds at once would be in memory as a whole."""
    known: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once `knowledge` is anything but NONE."""
    trouble: KubeError | None = None
    """What the last list, or watch, failed with."""
    since: float = field(default_factory=time.monotonic)

    async def run(self) -> None:
        """Until cancelled."""
        wait = _FIRST_RETRY_SECONDS
        while True:
            begun = time.monotonic()
            try:
                await self._watch(await self._list())
                pause = 0.0
            except NotFoundError:
                self._know(Knowledge.UNSERVED)
                pause = ABSENT_SECONDS
            except ForbiddenError as error:
                if self.knowledge is not Knowledge.FORBIDDEN:
                    _log.info("%s are not watched: %s", self.kind.plural, error)
                self._know(Knowledge.FORBIDDEN)
                pause = ABSENT_SECONDS
            except KubeError as error:
                self.trouble = error
                if time.monotonic() - begun > WELL_SECONDS:
                    wait = _FIRST_RETRY_SECONDS
                pause = error.retry_after or wait
                level = logging.INFO if isinstance(error, GoneError) else logging.WARNING
                _log.log(level, "%s are listed again in about %.1f s: %s", self.kind.plural, pause, error)
                wait = min(_LAST_RETRY_SECONDS, 2 * wait)
            await asyncio.sleep(_jittered(pause))

    async def come_to_know(self) -> None:
        """Wait until `knowledge` is anything but NONE, as long as that is in good time; then raise what is wrong.

        The time runs from the start, and not for each that waits: they would hold up all others, one after the other.
        """
        if self.known.is_set():
            return
        try:
            async with asyncio.timeout(max(0.0, self.since + PATIENCE_SECONDS - time.monotonic())):
                await self.known.wait()
        except TimeoutError:
            place = f" of namespace {self.namespace}" if self.namespace is not None and self.kind.namespaced else ""
            what = f"{self.kind.plural}{place}"
            if self.trouble is None:
                raise UnreachableError(f"{what} are still being listed") from None
            raise NotListedError(f"{what} cannot be listed: {self.trouble}") from None

    async def _list(self) -> str:
        async with self.listing:
            return await self._list_alone()

    async def _list_alone(self) -> str:
        documents, version = await self.kube.list_all(
            self.kind, self.namespace, self._query(), metadata_only=self.metadata_only, trim=self.store.trim
        )
        changes = self.store.replace(documents, version, self.namespace)
        del documents
        self._know(Knowledge.WHOLE)
        self.on_change(self.kind, changes)
        return version

    async def _watch(self, version: str) -> None:
        """Watch for as long as `RELIST_SECONDS`, one watch after the other."""
        until = time.monotonic() + _jittered(RELIST_SECONDS)
        while time.monotonic() < until:
            events = self.kube.watch(
                self.kind, self.namespace, version, self._query(), metadata_only=self.metadata_only
            )
            async for event, document in events:
                version = document["metadata"]["resourceVersion"]
                change = self.store.tell(event, document)
                if change is not None:
                    self.on_change(self.kind, [change])

    def _query(self) -> dict[str, str]:
        return {"labelSelector": self.selector} if self.selector is not None else {}

    def _know(self, knowledge: Knowledge) -> None:
        if knowledge is Knowledge.UNSERVED:
            self.on_change(self.kind, self.store.clear())
        if self.knowledge is knowledge:
            return
        self.knowledge = knowledge
        self.known.set()
        self.on_knowledge(self.kind)


def _jittered(seconds: float) -> float:
    return seconds * (0.75 + random.random() / 2)  # noqa: S311 spreads load, guards nothing  # nosec B311
