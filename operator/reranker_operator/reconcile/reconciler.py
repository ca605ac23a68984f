"""One round for one service: observe -> plan -> apply -> report. Idempotent; knows nothing of why it was called."""

import datetime
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from reranker_operator.api import ConditionType, Identity, InvalidResourceError, Reason, RerankerService
from reranker_operator.api.conditions import Status
from reranker_operator.desired import Defaults, desired
from reranker_operator.desired.pod import secrets as secrets_of
from reranker_operator.kube import ConflictError, Kind, Kube, KubeError
from reranker_operator.kube.events import utc_now
from reranker_operator.reconcile.admission import host_path_problem
from reranker_operator.reconcile.apply import Applied, Applier
from reranker_operator.reconcile.conditions import Facts, conditions, rejected
from reranker_operator.reconcile.observe import Observed, observe
from reranker_operator.reconcile.plan import RECHECK_SECONDS, ModelVerdict, Plan, judge, plan
from reranker_operator.reconcile.probe import KEY_ENTRY, Prober, target_of
from reranker_operator.reconcile.report import Reporter, bare_status, status_of

WATCHING_SECONDS = 2.0
"""While a rollout is under way its pods are looked at this often: pods are not watched, a cluster has too many."""
MISSING_SECONDS = 5.0
"""How soon a missing Secret, claim or class is looked for again."""
RARELY_SECONDS = 30.0
"""What has waited for long is looked at no more rarely than this."""
REFUSED_SECONDS = 60.0
"""How soon a refusal by the server is put to the test again: a quota may grow, a webhook may change its mind."""

UNWATCHED_SECONDS = 60.0
"""How often objects are looked at whose kinds may not exist, and so are not watched."""
_UNWATCHED = ("HTTPRoute", "ServiceMonitor")

Key = tuple[str, str]
"""Namespace and name of a service."""


@dataclass(frozen=True)
class Outcome:
    """What a round ended with."""

    conditions: dict[str, tuple[str, str]]
    """Type -> (status, reason); empty when the service is gone."""
    again_in: float | None = None
    """Seconds until the next look, where no event will ask for one."""
    milliseconds: int | None = None
    """Of the last real ranking."""


class Reconciler:
    """Brings one service at a time to what its spec asks for."""

    def __init__(
        self,
        kube: Kube,
        reporter: Reporter,
        *,
        prober: Prober,
        defaults: Defaults,
        host_paths: Sequence[str] = (),
        exempt_managers: Sequence[str] = (),
        now: Callable[[], datetime.datetime] = utc_now,
    ) -> None:
        self._kube = kube
        self._reporter = reporter
        self._prober = prober
        self._defaults = defaults
        self._host_paths = host_paths
        self._now = now
        self._applier = Applier(kube, exempt_managers)

    async def reconcile(self, key: Key) -> Outcome:
        """One round. Raises `KubeError` where the round must be tried again."""
        namespace, name = key
        document = await self._kube.get(Kind.RERANKER_SERVICE, namespace, name)
        if document is None or "deletionTimestamp" in document["metadata"]:
            self._prober.forget(key)
            return Outcome({})  # the garbage collector removes what it owned
        previous = document.get("status") or {}
        try:
            service = RerankerService.parse(document)
        except InvalidResourceError as error:
            remedy = "Correct the spec, or run an operator of the version that wrote it"
            said = f"{'; '.join(error.problems)}. {remedy}; meanwhile its objects are left as they are"
            return await self._reject(document, Reason.INVALID, said)
        if (problem := host_path_problem(service, self._host_paths)) is not None:
            return await self._reject(document, Reason.HOST_PATH_NOT_ALLOWED, problem)
        wanted = desired(service, self._defaults)
        observed = await observe(self._kube, service, wanted)
        verdict = judge(wanted, observed)
        planned = plan(service, wanted, observed, verdict, self._now())
        applied, trouble = Applied(), None
        if planned.leaving is not None or planned.taken is not None:
            # What stands there says nothing about this service.
            observed, verdict = replace(observed, deployment=None, job=None, pods=[], job_pods=[]), ModelVerdict()
        else:
            trouble = await self._carry_out(planned, observed, applied)
        facts = Facts(
            service=service,
            wanted=wanted,
            observed=observed,
            verdict=verdict,
            deployment=applied.objects.get("Deployment", observed.deployment),
            refused=_refusal(planned, trouble),
            failing=str(trouble) if trouble is not None and not trouble.users_matter else None,
            leaving=planned.leaving,
        )
        target = target_of(service, observed.service, wanted.template_hash, secrets_of(service))
        asks = target is not None and facts.rolled_out and facts.ready_pods > 0
        if asks and target is not None:
            self._prober.look(target)
            earlier = {each["type"]: each for each in previous.get("conditions") or ()}
            told = earlier.get(ConditionType.RANKING_VERIFIED.value)
            facts = replace(facts, probe=self._prober.latest(target), told=told)
        status = status_of(facts, conditions(facts), previous)
        await self._reporter.write(service, status, previous)
        await self._reporter.repaired(service, applied.repaired)
        if facts.failing is not None and trouble is not None:
            raise trouble  # the status tells it; the queue tries again, later each time
        waits = [self._again_in(status, facts)]
        if asks and target is not None and facts.probe is not None:  # the first answer wakes by itself
            waits.append(max(0.0, self._prober.due_in(target)))
        given = [seconds for seconds in waits if seconds is not None]
        latency = facts.probe.milliseconds if facts.probe is not None else None
        return Outcome(_summary(status), min(given, default=None), latency)

    async def _carry_out(self, planned: Plan, observed: Observed, applied: Applied) -> KubeError | None:
        """Do what the plan says, as far as the server lets us; returns what stopped it."""
        found = (observed.service_account, observed.service, observed.job, observed.deployment)
        live = {(each["kind"], each["metadata"]["name"]): each for each in found if each is not None}
        live |= {key: each for key, each in observed.optional.items() if each is not None}
        try:
            await self._generate_keys(planned)
            for each in planned.delete:
                await self._applier.delete(each)
            for each in planned.apply:
                await self._applier.apply(each, live.get((each["kind"], each["metadata"]["name"])), applied)
        except ConflictError:
            raise  # somebody was faster: the next round reads what they wrote
        except KubeError as error:
            return error
        return None

    async def _generate_keys(self, planned: Plan) -> None:
        """A first key, where one is asked for and there is none. What is there is never written over."""
        if planned.generate is not None:
            keys = {client: secrets.token_urlsafe(32) for client in ("default", KEY_ENTRY)}
            await self._kube.create({**planned.generate, "stringData": keys})

    def _again_in(self, status: dict[str, Any], facts: Facts) -> float | None:
        """When to look again where no event asks for it: often at first, then ever more rarely."""
        said = {each["type"]: each for each in status["conditions"]}
        optional = facts.wanted.optional
        if facts.refused is not None:
            return REFUSED_SECONDS
        if facts.verdict.undecided_since is not None:
            return RECHECK_SECONDS
        if facts.observed.missing or facts.observed.unserved:
            first, condition = MISSING_SECONDS, said["ReferencesResolved"]
        elif said["Progressing"]["status"] == Status.TRUE.value:
            first, condition = WATCHING_SECONDS, said["Progressing"]
        else:
            return UNWATCHED_SECONDS if any(each.document and each.kind in _UNWATCHED for each in optional) else None
        since = datetime.datetime.fromisoformat(condition["lastTransitionTime"])
        return min(RARELY_SECONDS, max(first, (self._now() - since).total_seconds() / 20))

    async def _reject(self, document: dict[str, Any], reason: Reason, message: str) -> Outcome:
        identity = Identity.of(document)
        previous = document.get("status") or {}
        status = {
            **{
                key: previous[key]
                for key in ("replicas", "readyReplicas", "selector", "endpoint", "model")
                if key in previous
            },
            **bare_status(identity.generation, rejected(reason, message)),
        }
        await self._reporter.write(identity, status, previous)
        return Outcome(_summary(status))


def _refusal(planned: Plan, trouble: KubeError | None) -> str | None:
    if planned.taken is not None:
        return f"{planned.taken} exists and belongs to somebody else. Rename this service, or remove that object"
    if trouble is not None and trouble.users_matter:
        return f"the API server refused an object: {trouble}"
    return None


def _summary(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}
