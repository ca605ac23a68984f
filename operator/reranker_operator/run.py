"""`reranker-operator run`: from start to leadership to the loop, and an orderly end."""

import asyncio
import logging
import signal
import socket
import sys
import uuid
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from kubernetes.aio import client, config

from reranker_operator import __version__
from reranker_operator.desired import Defaults
from reranker_operator.health import Health, served
from reranker_operator.kopf_adapter import watch
from reranker_operator.kube import Kind, Kube, KubeError, NotFoundError
from reranker_operator.kube.client import load_configuration
from reranker_operator.kube.election import LEASE_NAME, Election
from reranker_operator.kube.events import Recorder, utc_now
from reranker_operator.logs import set_up_logging
from reranker_operator.metrics import Metrics
from reranker_operator.reconcile.controller import Controller
from reranker_operator.reconcile.probe import Prober
from reranker_operator.reconcile.queue import KeyQueue
from reranker_operator.reconcile.reconciler import Key, Reconciler
from reranker_operator.reconcile.report import Reporter

CRD_POLL_SECONDS = 2.0

_log = logging.getLogger("reranker_operator")


@dataclass(frozen=True)
class Options:
    """The command line of `run`."""

    namespaces: Sequence[str]
    lease_namespace: str
    lease_seconds: int
    metrics_port: int
    health_port: int
    workers: int
    log_level: str
    log_format: str
    host_paths: Sequence[str]
    exempt_managers: Sequence[str]
    defaults: Defaults


def serve(options: Options) -> int:
    """Run until told to stop; returns the exit status."""
    set_up_logging(options.log_level, options.log_format)
    try:
        return asyncio.run(_serve(options))
    except config.ConfigException as error:
        message = f"no way to reach a cluster: {error}"
    except OSError as error:
        message = str(error)
    print(f"reranker-operator: {message}", file=sys.stderr)  # noqa: T201 the command line's own error
    return 2


async def _serve(options: Options) -> int:
    configuration = await load_configuration()
    metrics = Metrics()
    async with client.ApiClient(configuration) as api:
        kube = Kube(api, metrics.on_call)
        queue: KeyQueue[Key] = KeyQueue()
        reconciler = Reconciler(
            kube,
            Reporter(kube, Recorder(kube), utc_now),
            prober=Prober(kube, queue.add, utc_now),
            defaults=options.defaults,
            host_paths=options.host_paths,
            exempt_managers=options.exempt_managers,
        )
        controller = Controller(reconciler, queue, metrics, options.workers)
        metrics.queue_depth.set_function(controller.queue.depth)
        health = Health(controller.queue.oldest_wait)
        identity = f"{socket.gethostname()}_{uuid.uuid4()}"
        election = Election(api, options.lease_namespace, identity, options.lease_seconds)
        process = _Process(options, configuration, kube, controller, election, health, metrics)
        async with served(health, metrics, options.health_port, options.metrics_port):
            return await process.run()


class _Process:
    """The life of one operator process: wait for the CRD, stand for election, lead, stop."""

    def __init__(
        self,
        options: Options,
        configuration: client.Configuration,
        kube: Kube,
        controller: Controller,
        election: Election,
        health: Health,
        metrics: Metrics,
    ) -> None:
        self._options = options
        self._configuration = configuration
        self._kube = kube
        self._controller = controller
        self._election = election
        self._health = health
        self._metrics = metrics
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Until a signal (exit status 0), or until something that must not end ends (1)."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        watched = ", ".join(self._options.namespaces) or "all namespaces"
        _log.info("version %s, watching %s", __version__, watched)
        tasks = {asyncio.create_task(self._stop.wait(), name="stop"), asyncio.create_task(self._live(), name="loop")}
        ended, running = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        self._health.ready = False
        for task in running:
            # A half-done round is finished by the next leader: every step is level-triggered.
            task.cancel()
        await asyncio.wait(running)
        await self._election.release()
        for task in ended:
            if task.get_name() == "loop":
                _log.error("%s; this process ends, to be started again", task.exception() or "the loop ended")
                return 1
        _log.info("stopped")
        return 0

    async def _live(self) -> None:
        self._health.state = f"waiting for the {Kind.RERANKER_SERVICE.title} CRD"
        await _wait_for_crd(self._kube, self._options.namespaces)
        self._health.state = f"standing by for lease {self._options.lease_namespace}/{LEASE_NAME}"
        self._health.ready = True
        _log.info("%s", self._health.state)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ends("the lease was lost", self._election.run()))
                await self._election.leading.wait()
                self._health.state = "leading"
                self._metrics.leader.set(1)
                _log.info("leading")
                watching = watch(self._configuration, self._options.namespaces, self._controller.queue.add)
                group.create_task(self._ends("the watch ended", watching))
                group.create_task(self._controller.run())
        except* _EndedError as ended:
            raise ended.exceptions[0] from ended

    @staticmethod
    async def _ends(words: str, work: Coroutine[Any, Any, None]) -> None:
        """Turn the end of what must not end into an error that names it."""
        try:
            await work
        except Exception as error:
            raise _EndedError(f"{words}: {error!r}") from error
        raise _EndedError(words)


class _EndedError(Exception):
    """Something that runs for as long as the process does has ended."""


async def _wait_for_crd(kube: Kube, namespaces: Sequence[str]) -> None:
    """Until the API serves our kind: an operator that starts before its CRD must wait, not exit."""
    said = ""
    while True:
        try:
            for namespace in namespaces or (None,):
                await kube.find(Kind.RERANKER_SERVICE, namespace, limit="1")
        except KubeError as error:
            if str(error) != said:
                missing = isinstance(error, NotFoundError)
                hint = "apply crds/ of this release; waiting for it" if missing else "waiting"
                _log.warning("%s cannot be listed (%s): %s", Kind.RERANKER_SERVICE.title, error, hint)
                said = str(error)
        else:
            return
        await asyncio.sleep(CRD_POLL_SECONDS)
