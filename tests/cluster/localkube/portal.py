"""Lets plain, synchronous code (tests, the command line) use the asynchronous API client.

An event loop runs in a thread of its own; every call is carried out there and waited for.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from localkube.api import Api, Json

T = TypeVar("T")

_CLOSE_SECONDS = 5.0


class Portal:
    """The API server, for synchronous callers."""

    def __init__(self, kubeconfig: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="localkube-api", daemon=True)
        self._thread.start()
        self._api = self.call(_open(kubeconfig))

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Carry out a coroutine in the portal's loop and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    @property
    def api(self) -> Api:
        """The client; its coroutines are for `call`."""
        return self._api

    def close(self) -> None:
        """Let go of the connections and end the thread."""
        if self._loop.is_closed():
            return
        self.call(self._loop.shutdown_asyncgens())  # watches that were left in the middle
        self.call(self._api.close())
        self.call(_closed())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def wait(self, path: str, condition: Callable[[Json | None], Any], *, timeout: float, what: str = "") -> Any:
        """Watch one object (its full path) until `condition` gives something true, and return that.

        `condition` gets the object, or None while there is none; an exception of its own counts as false. On a timeout
        the TimeoutError tells the last state.
        """
        return self.call(_wait(self._api, path, condition, timeout, what))

    def wait_any(self, path: str, condition: Callable[[Json], Any], *, timeout: float, what: str = "") -> Any:
        """Watch a collection until `condition` of one of its objects is true, and return what it gave."""
        return self.call(_wait_any(self._api, path, condition, timeout, what))


async def _open(kubeconfig: Path) -> Api:
    return Api(kubeconfig)  # its session belongs to the loop that runs this


async def _closed() -> None:
    """Until no connection is open: an encrypted one closes only when the server has answered."""
    transports = asyncio.get_running_loop()._transports  # type: ignore[attr-defined]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            while any(each._sock is not None for each in list(transports.values())):  # noqa: ASYNC110 no event tells
                await asyncio.sleep(0.01)


async def _wait(api: Api, path: str, condition: Callable[[Json | None], Any], seconds: float, what: str) -> Any:
    collection, _, name = path.rpartition("/")
    last: Json | None = None
    problem = ""

    def check(item: Json | None) -> Any:
        nonlocal problem
        problem = ""
        try:
            return condition(item)
        except Exception as error:  # noqa: BLE001 - such as a KeyError while a status is not there yet
            problem = f" ({type(error).__name__}: {error})"
            return None

    async def watch() -> Any:
        nonlocal last
        async for kind, item in api.watch(collection, field=f"metadata.name={name}"):
            if kind == "SYNCED":
                if last is None and (result := check(None)):
                    return result
                continue
            last = None if kind == "DELETED" else item
            if result := check(last):
                return result
        return None

    try:
        return await asyncio.wait_for(watch(), seconds)
    except TimeoutError:
        state = "it is not there" if last is None else f"its last state: {_brief(last)}"
        raise TimeoutError(f"waited {seconds:.0f} s for {what or path}{problem}; {state}") from None


async def _wait_any(api: Api, path: str, condition: Callable[[Json], Any], seconds: float, what: str) -> Any:
    async def watch() -> Any:
        async for kind, item in api.watch(path):
            if kind in {"ADDED", "MODIFIED"}:
                with contextlib.suppress(LookupError, TypeError):
                    if result := condition(item):
                        return result
        return None

    try:
        return await asyncio.wait_for(watch(), seconds)
    except TimeoutError:
        raise TimeoutError(f"waited {seconds:.0f} s for one of {what or path}") from None


def _brief(item: Json) -> str:
    metadata = {key: value for key, value in item["metadata"].items() if key not in {"managedFields", "annotations"}}
    return str({"metadata": metadata, "status": item.get("status")})
