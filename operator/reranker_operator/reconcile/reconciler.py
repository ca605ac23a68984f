"""One round for one service: observe -> plan -> apply -> report. Idempotent; knows nothing of why it was called."""

import datetime
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from reranker_operator import __version__
from reranker_operator.api import ConditionType, Identity, InvalidResourceError, Reason, RerankerService
from reranker_operator.api.conditions import Status
from reranker_operator.desired import Defaults, desired
from reranker_operator.desired.pod import secrets as secrets_of
from reranker_operator.kube import ConflictError, ForbiddenError, Kind, Kube, KubeError, NotListedError
from reranker_operator.kube.events import utc_now
from reranker_operator.reconcile.admission import host_path_problem
from reranker_operator.reconcile.apply import Applied, Applier, StrangerError
from reranker_operator.reconcile.cache import Cache
from reranker_operator.reconcile.circumstances import circumstances
from reranker_operator.reconcile.conditions import Facts, conditions, rejected
from reranker_operator.reconcile.contents import Contents
from reranker_operator.reconcile.observe import SILENT_SECONDS, Observed, Observer
from reranker_operator.reconcile.plan import RECHECK_SECONDS, ModelVerdict, Plan, is_ours, judge, plan, stranger
from reranker_operator.reconcile.probe import KEY_ENTRY, Probe, Prober, Target, target_of
from reranker_operator.reconcile.references import References, resolve
from reranker_operator.reconcile.report import Reporter, bare_status, failing_status, status_of
from reranker_operator.reconcile.rollout import Recalled, inputs_before, ready_templates, recall
from reranker_operator.reconcile.scaling.handover import SCALER
from reranker_operator.reconcile.scaling.scaler import QueueScaler
from reranker_operator.reconcile.verdicts import Verdicts

RESYNC_SECONDS = 600.0
"""Each service is looked at this often without any event."""
REFUSED_SECONDS = 60.0
"""How soon a refusal by the server is put to the test again: a quota may grow, a webhook may change its mind."""

Key = tuple[str, str]
"""Namespace and name of a service."""


@dataclass(frozen=True)
class Outcome:
    """What a round ended with."""

    conditions: dict[str, tuple[str, str]]
    """Type -> (status, reason); empty when the service is gone."""
    again_in: float | None = None
    """Seconds until the next look, where no event will ask for one."""
    probe: Probe | None = None
    """The last real ranking."""


class Reconciler:
    """Brings one service at a time to what its spec asks for."""

    def __init__(
        self,
        kube: Kube,
        cache: Cache,
        reporter: Reporter,
        *,
        prober: Prober,
        scaler: QueueScaler,
        defaults: Defaults,
        host_paths: Sequence[str] = (),
        exempt_managers: Sequence[str] = (),
        now: Callable[[], datetime.datetime] = utc_now,
    ) -> None:
        self._kube, self._cache, self._reporter = kube, cache, reporter
        self._prober, self._scaler = prober, scaler
        self._defaults, self._host_paths, self._now = defaults, host_paths, now
        self._observer = Observer(kube, cache)
        self._contents = Contents(kube, cache, defaults.namespace)
        self._applier = Applier(kube, cache, exempt_managers)
        self._verdicts = Verdicts(kube, cache)

    async def reconcile(self, key: Key) -> Outcome:
        """One round. Raises `KubeError` where the round must be tried again."""
        if (lacking := self._cache.lacks(key[0])) is not None:
            raise ForbiddenError(
                f"{lacking} of namespace {key[0]} cannot be watched: apply the RBAC rules of this release there"
            )
        document = await self._document(key)
        if document is None or "deletionTimestamp" in document["metadata"]:
            self._forget(key)
            return Outcome({})  # the garbage collector removes what it owned
        previous = document.get("status") or {}
        try:
            service = self._defaults.fill(RerankerService.parse(document))
        except InvalidResourceError as error:
            return await self._reject(document, *_not_understood(error))
        if (problem := host_path_problem(service, self._host_paths)) is not None:
            return await self._reject(document, Reason.HOST_PATH_NOT_ALLOWED, problem)
        try:
            return await self._round(service, previous)
        except NotListedError as error:
            # The round did not come as far as to tell it.
            await self._reporter.write(service, failing_status(service.generation, str(error), previous), previous)
            raise

    async def _round(self, service: RerankerService, previous: dict[str, Any]) -> Outcome:
        deployment = self._cache.child(Kind.DEPLOYMENT, service.namespace, service.name)
        references = await resolve(self._cache, self._contents, service, deployment)
        recalled = await self._recall(service, references, deployment)
        wanted = desired(service, self._defaults, recalled.given)
        references = references.used_by(service, wanted, deployment)
        observed = await self._observer.observe(service, wanted, references, self._now())
        verdict = judge(wanted, observed, self._now())
        planned = plan(service, wanted, observed, verdict, recalled, self._now())
        applied, trouble = Applied(), None
        if not planned.is_barred:
            try:
                trouble = await self._carry_out(service, planned, observed, applied)
            except StrangerError as error:
                planned = stranger(service, error.document) or planned
        if planned.is_barred:
            # What stands there says nothing about this service.
            observed, verdict = replace(observed, deployment=None, job=None, pods=[], job_pods=[]), ModelVerdict()
            self._scaler.forget((service.namespace, service.name))
        else:
            self._scaler.follow(service, scaled=recalled.given.scaled)
        facts = Facts(
            service=service,
            wanted=wanted,
            observed=observed,
            verdict=verdict,
            recalled=recalled,
            deployment=applied.objects.get(("Deployment", service.name), observed.deployment),
            refused=_refusal(planned, trouble),
            failing=str(trouble) if trouble is not None and not trouble.users_matter else None,
            leaving=planned.leaving,
        )
        # Of a Service made just now, as nothing may happen afterwards that looks here again.
        facts, target = self._ask(facts, applied.objects.get(("Service", service.name), observed.service), previous)
        status = status_of(facts, conditions(facts), previous)
        news = False
        if trouble is None or ("Deployment", service.name) in applied.objects:
            news = await self._verdicts.keep(facts, status)  # before anybody is told: who reads it may rely on it
        # Where something is refused, its words may be others each time.
        news |= await self._reporter.write(service, status, previous) and trouble is None
        await self._reporter.repaired(service, applied.repaired)
        if recalled.room_for is not None and trouble is None:
            await self._reporter.made_room(service, recalled.room_for)
        if facts.failing is not None and trouble is not None:
            raise trouble  # the status tells it; the queue tries again, later each time
        # What was found out may call for more, such as a rollback; our own writes are no events that would say so.
        again_in = 0.0 if news else self._again_in(facts, target)
        return Outcome(_summary(status), again_in, facts.probe)

    async def _document(self, key: Key) -> dict[str, Any] | None:
        """The service as our watch told; from the server where kopf was told of it first."""
        known = self._cache.services.get(*key)
        if known is not None:
            return known
        document = await self._kube.get(Kind.RERANKER_SERVICE, *key)
        if document is not None:
            self._cache.services.learn(document)
        return document

    def _forget(self, key: Key) -> None:
        self._prober.forget(key)
        self._scaler.forget(key)
        self._observer.forget(key)
        self._contents.forget(self._cache.refer(key, ()))

    async def _recall(
        self, service: RerankerService, references: References, deployment: dict[str, Any] | None
    ) -> Recalled:
        """What earlier rounds decided, read back from revisions, Deployment and pods."""
        key = service.namespace, service.name
        revisions = self._cache.children(Kind.CONTROLLER_REVISION, key)
        # While something is missing, or may not be read, nothing rolls: pods that run have read it.
        unknown = references.inputs_unknown and deployment is not None
        stays = references.missing or unknown
        inputs = inputs_before(service, revisions, deployment) if stays else references.inputs
        return recall(
            service,
            inputs,
            references.credentials,
            revisions,
            deployment,
            self._cache.children(Kind.POD, key),
            self._now(),
            await circumstances(self._cache, self._contents, service, deployment),
        )

    async def _carry_out(
        self, service: RerankerService, planned: Plan, observed: Observed, applied: Applied
    ) -> KubeError | None:
        """Do what the plan says, as far as the server lets us; returns what stopped it."""
        found = (observed.service_account, observed.service, observed.job, observed.deployment)
        live = {(each["kind"], each["metadata"]["name"]): each for each in found if each is not None}
        live |= {key: each for key, each in observed.optional.items() if each is not None}
        try:
            await self._generate_keys(planned)
            for each in planned.delete:
                await self._applier.delete(each)
            if planned.record is not None and (made := await self._kube.create(planned.record)) is not None:
                self._cache.learn(made)
            if planned.hand_over is not None:
                self._cache.learn(await self._kube.apply(planned.hand_over, manager=SCALER))
            return await self._apply(service, planned, live, applied)
        except ConflictError:
            raise  # somebody was faster: the next round reads what they wrote
        except KubeError as error:
            return error

    async def _apply(
        self, service: RerankerService, planned: Plan, live: dict[tuple[str, str], dict[str, Any]], applied: Applied
    ) -> KubeError | None:
        """Apply one object after the other. One that is refused for good keeps none of the others from being there."""
        refused: KubeError | None = None
        for each in planned.apply:
            found = live.get((each["kind"], each["metadata"]["name"]))
            try:
                await self._applier.apply(each, found, applied, partial(is_ours, service))
            except KubeError as error:
                if not error.users_matter:
                    raise
                refused = refused or error
        return refused

    async def _generate_keys(self, planned: Plan) -> None:
        """A first key, where one is asked for and there is none. What is there is never written over."""
        if planned.generate is None:
            return
        metadata = planned.generate["metadata"]
        _knowledge, there = await self._cache.named(Kind.SECRET, metadata["namespace"], metadata["name"])
        if there is None:
            keys = {client: secrets.token_urlsafe(32) for client in ("default", KEY_ENTRY)}
            await self._kube.create({**planned.generate, "stringData": keys})

    def _ask(self, facts: Facts, front: dict[str, Any] | None, previous: dict[str, Any]) -> tuple[Facts, Target | None]:
        """Have a real ranking asked for where it is time to, and add what is known of the last one."""
        service, wanted = facts.service, facts.wanted
        target = target_of(service, front, wanted.template_hash, secrets_of(service))
        if target is None or not facts.rolled_out or not facts.ready_pods:
            return facts, None
        earlier = {each["type"]: each for each in previous.get("conditions") or ()}
        told = earlier.get(ConditionType.RANKING_VERIFIED.value)
        if wanted.template_hash not in ready_templates(facts.deployment)[:1]:
            told = None  # it speaks of another template
        self._prober.look(target, told=_has_ranked(told))
        return replace(facts, probe=self._prober.latest(target), told=told), target

    def _again_in(self, facts: Facts, target: Target | None) -> float | None:
        """When to look again where no event asks for it."""
        waits = [facts.recalled.switch_in]
        if target is not None:
            waits.append(self._prober.due_in(target, told=_has_ranked(facts.told)))
        if facts.refused is not None:
            waits.append(REFUSED_SECONDS)
        if facts.verdict.undecided_since is not None:
            waits.append(RECHECK_SECONDS)
        if facts.observed.job is not None and facts.verdict.report is None and not facts.verdict.verified:
            waits.append(SILENT_SECONDS)
        return min((each for each in waits if each is not None), default=None)

    async def _reject(self, document: dict[str, Any], reason: Reason, message: str) -> Outcome:
        identity = Identity.of(document)
        self._scaler.forget((identity.namespace, identity.name))
        previous = document.get("status") or {}
        # What is served goes on being so, and a newer version's fields are not for us to take away.
        status = {**previous, **bare_status(identity.generation, rejected(reason, message))}
        await self._reporter.write(identity, status, previous)
        return Outcome(_summary(status))


def _not_understood(error: InvalidResourceError) -> tuple[Reason, str]:
    left = "meanwhile its objects are left as they are"
    if error.newer:
        known = f"This operator is of version {__version__} and does not know it: the spec was written for a newer one"
        said = f"{'; '.join(error.problems)}. {known}. Run that, or take it out of the spec; {left}"
        return Reason.NEWER_VERSION, said
    said = f"{'; '.join(error.problems)}. Correct the spec, or run an operator of the version that wrote it; {left}"
    return Reason.INVALID, said


def _has_ranked(told: dict[str, Any] | None) -> bool:
    """Whether an earlier operator saw it rank: while a certificate is renewed, that is what it says then."""
    return told is not None and (
        told["status"] == Status.TRUE.value or told["reason"] == Reason.CERTIFICATE_PENDING.value
    )


def _refusal(planned: Plan, trouble: KubeError | None) -> str | None:
    if planned.taken is not None:
        return f"{planned.taken} exists and belongs to somebody else. Rename this service, or remove that object"
    if trouble is not None and trouble.users_matter:
        return f"the API server refused an object: {trouble}"
    return None


def _summary(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}
