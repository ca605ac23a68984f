"""Starts an operator again whenever it ends, as the kubelet does for a pod: to end is an operator's right."""

from threading import Event, Thread
from types import TracebackType
from typing import Self

from localkube.operator_process import OperatorProcess

_BACKOFF_SECONDS = 0.5


class Keeper:
    """Keeps `operator`, which is started, running while the block runs; `ended` are the codes it ended with."""

    def __init__(self, operator: OperatorProcess) -> None:
        self.operator = operator
        self.ended: list[int] = []
        self._over = Event()
        self._thread = Thread(target=self._keep, name=f"keeper of {operator.name}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _keep(self) -> None:
        while not self._over.wait(0.05):
            code = self.operator.child.process.poll()
            if code is not None:
                self.ended.append(code)
                self._over.wait(_BACKOFF_SECONDS)
                self.operator.start(wait=False)
