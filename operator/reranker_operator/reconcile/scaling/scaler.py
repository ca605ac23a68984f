"""Scale by seconds in the queue, without Prometheus and without an adapter: read each pod, decide, scale.

A loop of its own and not a part of rounds: a round must not wait for pods that do not answer, and a look at a queue
every few seconds must not cost a round. Rounds say whom to follow; what comes of it they see as any change of a
Deployment.
"""

import asyncio
import logging
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from reranker_operator import contract
from reranker_operator.api import EventReason, RerankerService
from reranker_operator.desired.metadata import RANKING
from reranker_operator.kube import Kind, Kube, KubeError
from reranker_operator.kube.events import Recorder
from reranker_operator.metrics import Metrics
from reranker_operator.reconcile.cache import Cache
from reranker_operator.reconcile.progress import is_ready
from reranker_operator.reconcile.queue import KeyQueue
from reranker_operator.reconcile.scaling.decide import Bounds, History, recommend
from reranker_operator.reconcile.scaling.handover import SCALER, is_handed_over, live_replicas, scaled
from reranker_operator.reconcile.scaling.readings import Reading, Sample, mean, reading
from reranker_operator.reconcile.scaling.rules import Rules

PERIOD_SECONDS: Final = 15.0
"""Between two looks at a service, as a HorizontalPodAutoscaler has it."""
ANSWER_SECONDS: Final = 5.0
MOST_BYTES: Final = 1 << 20
SILENT_PERIODS: Final = 4
"""A ready pod that could not be read for so many periods is told of."""
SAY_AGAIN_SECONDS: Final = 600.0
_WORKERS: Final = 32
"""Services that are looked at, at the same time."""
_READS: Final = 128
"""Pods that are read at the same time."""

Key = tuple[str, str]
Json = dict[str, Any]

_log = logging.getLogger(__name__)


@dataclass
class _Silence:
    """A pod that is ready, and cannot be read."""

    since: float
    told: float | None = None


@dataclass
class _Followed:
    """What is known of one service. Pods are known by their uid."""

    service: RerankerService
    history: History = field(default_factory=History)
    samples: dict[str, Sample] = field(default_factory=dict)
    silent: dict[str, _Silence] = field(default_factory=dict)


class QueueScaler:
    """Scales the services that rounds tell it to follow. Times are seconds of `clock`."""

    def __init__(
        self,
        kube: Kube,
        cache: Cache,
        recorder: Recorder,
        metrics: Metrics,
        *,
        period: float = PERIOD_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube, self._cache, self._recorder, self._metrics = kube, cache, recorder, metrics
        self._period, self._clock = period, clock
        self._followed: dict[Key, _Followed] = {}
        self._queue: KeyQueue[Key] = KeyQueue()
        self._reading = asyncio.Semaphore(_READS)

    def follow(self, service: RerankerService, *, scaled: bool) -> None:
        """From now on scale it by its queues, if it asks for that and its number of pods is an autoscaler's."""
        autoscaling, key = service.spec.autoscaling, (service.namespace, service.name)
        if not scaled or autoscaling is None or autoscaling.target_queue_seconds is None:
            self.forget(key)
            return
        followed = self._followed.get(key)
        if followed is not None and followed.service.uid == service.uid:
            followed.service = service
            return
        self._followed[key] = _Followed(service)
        # After a restart all services come at once: looks are spread over the period.
        self._queue.add(key, zlib.crc32("/".join(key).encode()) / 2**32 * self._period)

    def forget(self, key: Key) -> None:
        """Leave its number of pods alone."""
        if self._followed.pop(key, None) is not None:
            self._metrics.forget_scaling(key)

    async def run(self) -> None:
        """Look at whom there is to follow, until cancelled."""
        # A connection is not kept: the next look is after most servers' patience with an idle one.
        connector = aiohttp.TCPConnector(limit=_READS, force_close=True)
        async with (
            aiohttp.ClientSession(connector=connector, trust_env=False) as session,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(_WORKERS):
                group.create_task(self._work(session))

    async def _work(self, session: aiohttp.ClientSession) -> None:
        while True:
            key = await self._queue.get()
            name = "/".join(key)
            try:
                await self._look(session, key)
            except KubeError as error:
                _log.warning("%s: not scaled, looked at again: %s", name, error, extra={"service": name})
            except Exception:  # noqa: BLE001
                # A fault of ours must not end the loop for everybody else's services.
                _log.exception("%s: not scaled after a fault in the operator", name, extra={"service": name})
            self._queue.done(key, succeeded=True)
            if key in self._followed:
                self._queue.add(key, self._period)

    async def _look(self, session: aiohttp.ClientSession, key: Key) -> None:
        followed = self._followed.get(key)
        if followed is None:
            return
        readings = await self._read_pods(session, key, followed)
        deployment = self._cache.child(Kind.DEPLOYMENT, *key)
        if self._followed.get(key) is not followed or deployment is None or not is_handed_over(deployment):
            return  # meanwhile it is no longer ours to scale, or not yet
        await self._scale(followed, deployment, readings)

    async def _scale(self, followed: _Followed, deployment: Json, readings: list[Reading]) -> None:
        service, autoscaling = followed.service, followed.service.spec.autoscaling
        current = live_replicas(deployment)
        if autoscaling is None or autoscaling.target_queue_seconds is None or not current:
            return
        target, rules = autoscaling.target_queue_seconds, Rules.of(autoscaling.behavior)
        bounds = Bounds(autoscaling.min_replicas, autoscaling.max_replicas)
        recommended = recommend(current, readings, target, rules)
        now = self._clock()
        wanted = followed.history.decide(now, current, recommended, bounds, rules)
        waited = mean(readings) if readings else None
        self._metrics.scaling((service.namespace, service.name), waited, wanted)
        if wanted == current:
            return
        self._cache.learn(await self._kube.apply(scaled(deployment, wanted), manager=SCALER))
        followed.history.scaled(now, current, wanted)
        if bounds.clamp(current) != current:
            why = f"{bounds.least} to {bounds.most} are asked for"
        else:
            why = f"{waited:.3g} s in the queue, {target:g} s asked for"
        await self._recorder.record(service, EventReason.SCALED, f"from {current} to {wanted}: {why}")

    # Reading pods

    async def _read_pods(self, session: aiohttp.ClientSession, key: Key, followed: _Followed) -> list[Reading]:
        """What happened in each pod since the last look, as far as it could be read."""
        pods = {str(pod["metadata"]["uid"]): pod for pod in self._cache.children(Kind.POD, key) if _ranks(pod)}
        before, longest_wait = followed.samples, float(followed.service.spec.server.max_queue_seconds)
        answers = await asyncio.gather(*(self._read(session, pod) for pod in pods.values()))
        followed.samples = {uid: got for uid, got in zip(pods, answers, strict=True) if isinstance(got, Sample)}
        silent = {uid: got for uid, got in zip(pods, answers, strict=True) if isinstance(got, str)}
        await self._tell_silent(followed, pods, silent)
        readings = (reading(before.get(uid), now, longest_wait) for uid, now in followed.samples.items())
        return [each for each in readings if each is not None]

    async def _read(self, session: aiohttp.ClientSession, pod: Json) -> Sample | str:
        """The pod's counters, or why they cannot be read."""
        address = str(pod["status"].get("podIP") or "")
        shown = f"[{address}]" if ":" in address else address
        url = f"http://{shown}:{contract.INTERNAL_PORT}{contract.METRICS_PATH}"
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        try:
            async with self._reading, session.get(url, timeout=timeout, allow_redirects=False) as answer:
                if answer.status != 200:  # noqa: PLR2004 HTTP's own word for success
                    return f"{url} answered {answer.status}"
                page = bytearray()
                async for chunk in answer.content.iter_any():
                    page += chunk
                    if len(page) > MOST_BYTES:
                        return f"{url} answered more than {MOST_BYTES} bytes"
            return Sample.parse(page.decode(errors="replace"), self._clock())
        except TimeoutError:
            return f"{url}: no answer within {ANSWER_SECONDS:g} s"
        except (aiohttp.ClientError, OSError) as error:
            return f"{url} cannot be reached: {error}"
        except ValueError as error:
            return f"{url}: {error}; is it this release's runtime?"

    async def _tell_silent(self, followed: _Followed, pods: dict[str, Json], silent: dict[str, str]) -> None:
        """Say which pods call themselves ready and cannot be read, once that has lasted."""
        now, before = self._clock(), followed.silent
        followed.silent = {uid: before.get(uid, _Silence(now)) for uid in silent}
        for uid, silence in followed.silent.items():
            long = now - silence.since >= SILENT_PERIODS * self._period
            if long and (silence.told is None or now - silence.told >= SAY_AGAIN_SECONDS):
                silence.told = now
                name = pods[uid]["metadata"]["name"]
                remedy = f"let the operator's pods connect to port {contract.INTERNAL_PORT}"
                counts = f"It counts like a pod that is not ready; where a policy or a mesh is in the way, {remedy}"
                words = f"the queue of pod {name} cannot be read: {silent[uid]}. {counts}"
                await self._recorder.record(followed.service, EventReason.QUEUE_UNREADABLE, words)


def _ranks(pod: Json) -> bool:
    """Whether it is a pod of the Deployment, and ready; the model Job's pods are never asked."""
    labels = pod["metadata"].get("labels") or {}
    return labels.get("app.kubernetes.io/component") == RANKING and is_ready(pod)
