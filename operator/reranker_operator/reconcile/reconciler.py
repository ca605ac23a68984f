"""One round for one service: observe -> plan -> apply -> report. Idempotent; knows nothing of why it was called."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reranker_operator.api import Identity, InvalidResourceError, Reason, RerankerService
from reranker_operator.api.conditions import Status
from reranker_operator.api.resource import KIND
from reranker_operator.desired import Defaults, desired
from reranker_operator.kube import Kind, Kube, KubeError
from reranker_operator.reconcile.admission import host_path_problem
from reranker_operator.reconcile.apply import Applied, Applier
from reranker_operator.reconcile.conditions import Facts, conditions, rejected
from reranker_operator.reconcile.observe import Observed, observe
from reranker_operator.reconcile.plan import Plan, judge, plan
from reranker_operator.reconcile.report import Reporter, bare_status, status_of

WATCHING_SECONDS = 2.0
"""While a rollout is under way its pods are looked at this often: pods are not watched, a cluster has too many."""
MISSING_SECONDS = 5.0
"""How soon a missing Secret, claim or class is looked for again."""
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


class Reconciler:
    """Brings one service at a time to what its spec asks for."""

    def __init__(
        self,
        kube: Kube,
        reporter: Reporter,
        *,
        defaults: Defaults,
        host_paths: Sequence[str] = (),
        exempt_managers: Sequence[str] = (),
    ) -> None:
        self._kube = kube
        self._reporter = reporter
        self._defaults = defaults
        self._host_paths = host_paths
        self._applier = Applier(kube, exempt_managers)

    async def reconcile(self, key: Key) -> Outcome:
        """One round. Raises `KubeError` where the round must be tried again."""
        namespace, name = key
        document = await self._kube.get(Kind.RERANKER_SERVICE, namespace, name)
        if document is None or "deletionTimestamp" in document["metadata"]:
            return Outcome({})  # the garbage collector removes what it owned
        previous = document.get("status") or {}
        try:
            service = RerankerService.parse({**document, "kind": KIND})
        except InvalidResourceError as error:
            remedy = "Correct the spec, or run an operator of the version that wrote it"
            return await self._reject(document, Reason.INVALID, f"{'; '.join(error.problems)}. {remedy}")
        if (problem := host_path_problem(service, self._host_paths)) is not None:
            return await self._reject(document, Reason.HOST_PATH_NOT_ALLOWED, problem)
        wanted = desired(service, self._defaults)
        observed = await observe(self._kube, service, wanted)
        verdict = judge(wanted, observed)
        planned = plan(service, wanted, observed, verdict)
        applied, refused = await self._carry_out(planned, observed)
        facts = Facts(
            service, wanted, observed, verdict, applied.objects.get("Deployment", observed.deployment), refused
        )
        status = status_of(facts, conditions(facts), previous)
        await self._reporter.write(service, status, previous)
        await self._reporter.repaired(service, applied.repaired)
        return Outcome(_summary(status), _again_in(status, planned, refused))

    async def _carry_out(self, planned: Plan, observed: Observed) -> tuple[Applied, str | None]:
        """Do what the plan says; a refusal by the server stops it and is returned in the server's words."""
        applied = Applied()
        if planned.taken is not None:
            words = f"{planned.taken} exists and belongs to somebody else. Rename this service, or remove that object"
            return applied, words
        if planned.leaving is not None:
            return applied, None
        live = {
            "ServiceAccount": observed.service_account,
            "Service": observed.service,
            "Job": observed.job,
            "Deployment": observed.deployment,
        }
        try:
            for each in planned.delete:
                await self._applier.delete(each)
            for each in planned.apply:
                await self._applier.apply(each, live[each["kind"]], applied)
        except KubeError as error:
            if not error.users_matter:
                raise
            return applied, f"the API server refused an object: {error}"
        return applied, None

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


def _summary(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}


def _again_in(status: dict[str, Any], planned: Plan, refused: str | None) -> float | None:
    said = _summary(status)
    if planned.leaving is not None:
        return WATCHING_SECONDS
    if refused is not None:
        return REFUSED_SECONDS
    if said["ReferencesResolved"][0] == Status.FALSE.value:
        return MISSING_SECONDS
    if said["Progressing"][0] == Status.TRUE.value:
        return WATCHING_SECONDS
    return None
