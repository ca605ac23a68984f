"""`reranker-operator run`: from start to leadership to the loop, and an orderly end."""

import asyncio
import logging
import signal
import socket
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import uvloop
from kubernetes.aio import client, config

from reranker_operator import __version__
from reranker_operator.desired import Defaults
from reranker_operator.health import Health, served
from reranker_operator.kopf_adapter import watch
from reranker_operator.kube import Kind, Kube, KubeError, NotFoundError
from reranker_operator.kube.client import load_configuration
from reranker_operator.kube.election import Election
from reranker_operator.kube.events import Recorder, utc_now
from reranker_operator.logs import set_up_logging
from reranker_operator.metrics import Metrics
from reranker_operator.reconcile.cache import Cache
from reranker_operator.reconcile.controller import Controller
from reranker_operator.reconcile.probe import Prober
from reranker_operator.reconcile.queue import KeyQueue
from reranker_operator.reconcile.reconciler import Key, Reconciler
from reranker_operator.reconcile.report import Reporter
from reranker_operator.reconcile.scaling.scaler import QueueScaler

CRD_POLL_SECONDS = 2.0
WATCH_AGAIN_SECONDS = 1.0

_log = logging.getLogger("reranker_operator")


@dataclass(frozen=True)
class Options:
    """The command line of `run`."""

    namespaces: Sequence[str]
    lease_namespace: str
    lease_name: str
    lease_seconds: int
    metrics_port: int
    health_port: int
    workers: int
    scaling_seconds: int
    log_level: str
    log_format: str
    host_paths: Sequence[str]
    exempt_managers: Sequence[str]
    defaults: Defaults


def serve(options: Options) -> int:
    """Run until told to stop; returns the exit status."""
    set_up_logging(options.log_level, options.log_format)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(options))
    except config.ConfigException as error:
        message = f"no way to reach a cluster: {error}"
    except OSError as error:
        message = str(error)
    print(f"reranker-operator: {message}", file=sys.stderr)  # noqa: T201 the command line's own error
    return 2


async def _serve(options: Options) -> int:
    configuration = await load_configuration()
    metrics = Metrics()
    async with client.ApiClient(configuration) as api, Kube(configuration, metrics.on_call) as kube:
        process = _Process(options, configuration, api, kube, metrics)
        async with served(process.health, metrics, options.health_port, options.metrics_port):
            return await process.run()


class _Process:
    """The life of one operator process: wait for the CRD, stand for election, lead, stand again, stop."""

    def __init__(
        self,
        options: Options,
        configuration: client.Configuration,
        api: client.ApiClient,
        kube: Kube,
        metrics: Metrics,
    ) -> None:
        self.health = Health()
        self._options, self._configuration = options, configuration
        self._api, self._kube, self._metrics = api, kube, metrics
        self._identity = f"{socket.gethostname()}_{uuid.uuid4()}"
        self._election = self._new_election()
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
        self.health.ready = False
        for task in running:
            # A half-done round is finished by the next leader: every step is level-triggered.
            task.cancel()
        await asyncio.wait(running)
        await self._election.release()
        for task in ended:
            if task.get_name() == "loop":
                _log.error("the loop ended, and this process with it, to be started again", exc_info=task.exception())
                return 1
        _log.info("stopped")
        return 0

    async def _live(self) -> None:
        while True:
            self.health.say(f"waiting for the {Kind.RERANKER_SERVICE.title} CRD")
            await _wait_for_crd(self._kube, self._options.namespaces)
            self.health.say(f"standing by for lease {self._options.lease_namespace}/{self._options.lease_name}")
            self.health.ready = True
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._hold_lease())
                    await self._election.leading.wait()
                    await self._lead(group)
            except* _LeaseLostError:
                # What was under way has been cancelled. Standing again beats a restart, which the kubelet would delay.
                _log.warning("the lease was lost: another operator leads, or the API server was out of reach")
            self._metrics.stand_by()
            self.health.watch(None)
            self._election = self._new_election()

    async def _hold_lease(self) -> None:
        await self._election.run()
        raise _LeaseLostError

    async def _lead(self, group: asyncio.TaskGroup) -> None:
        """Start watching and working, with nothing from an earlier time of leading."""
        self._metrics.leader.set(1)
        self.health.learn()
        queue: KeyQueue[Key] = KeyQueue()
        cache = Cache(self._kube, self._options.namespaces, queue.add)
        recorder = Recorder(self._kube)
        period = self._options.scaling_seconds
        scaler = QueueScaler(self._kube, cache, recorder, self._metrics, period=period)
        reconciler = Reconciler(
            self._kube,
            cache,
            Reporter(self._kube, cache, recorder, utc_now),
            prober=Prober(self._kube, queue.add, utc_now),
            scaler=scaler,
            defaults=self._options.defaults,
            host_paths=self._options.host_paths,
            exempt_managers=self._options.exempt_managers,
        )
        controller = Controller(reconciler, queue, self._metrics, self._options.workers)
        self._metrics.queue_depth.set_function(queue.depth)
        group.create_task(cache.run())
        group.create_task(self._listen(queue))
        await cache.complete(lambda words: self.health.say(f"leading, {words}"))
        self.health.say("leading")
        self.health.watch(controller)
        group.create_task(controller.run())
        group.create_task(scaler.run())

    async def _listen(self, queue: KeyQueue[Key]) -> None:
        """A second pair of ears, kopf's own watch of services: whatever it hears of is looked at.

        It gives up where an API server is away for longer than it likes, and is begun again.
        """
        while True:
            try:
                await watch(self._configuration, self._options.namespaces, queue.add)
                _log.warning("kopf's watch of services ended; it is begun again in %g s", WATCH_AGAIN_SECONDS)
            except Exception as error:  # noqa: BLE001 whatever it was, our own watch goes on
                _log.warning("kopf's watch of services is begun again in %g s: %r", WATCH_AGAIN_SECONDS, error)
            await asyncio.sleep(WATCH_AGAIN_SECONDS)

    def _new_election(self) -> Election:
        options = self._options
        where = options.lease_namespace, options.lease_name
        return Election(self._api, *where, self._identity, options.lease_seconds)


class _LeaseLostError(Exception):
    """Somebody else may lead."""


async def _wait_for_crd(kube: Kube, namespaces: Sequence[str]) -> None:
    """Until the API serves our kind: an operator that starts before its CRD must wait, not exit.

    One namespace where it may be listed is enough: the watches wait for the others, and say so.
    """
    said = ""
    while True:
        for namespace in namespaces or (None,):
            try:
                await kube.find(Kind.RERANKER_SERVICE, namespace, limit="1")
            except KubeError as error:
                failed = error
            else:
                return
        if str(failed) != said:
            missing = isinstance(failed, NotFoundError)
            hint = "apply crds/ of this release; waiting for it" if missing else "waiting"
            _log.warning("%s cannot be listed (%s): %s", Kind.RERANKER_SERVICE.title, failed, hint)
            said = str(failed)
        await asyncio.sleep(CRD_POLL_SECONDS)
