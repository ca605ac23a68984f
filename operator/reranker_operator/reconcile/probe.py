"""A real ranking through the Service: that pods call themselves ready proves less than that clients get an answer.

It is asked as a client in the cluster would ask: at the Service's address, with the DNS name as host, over TLS and with
a key where the spec has them. A round never waits for it; when the answer is there, the service is looked at again.
"""

import asyncio
import base64
import contextlib
import datetime
import json
import logging
import math
import re
import ssl
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from reranker_operator import contract
from reranker_operator.api import Reason
from reranker_operator.api.conditions import Status
from reranker_operator.api.runtime import Runtime
from reranker_operator.kube import Kind, Kube, KubeError

BEAT_SECONDS: Final = 300.0
"""How often a template that ranked right is asked again."""
RETRY_SECONDS: Final = 15.0
"""How soon one that did not."""
OLDER_SECONDS: Final = 2.0
"""How soon when a pod of an earlier template answered."""
EXPIRY_SECONDS: Final = 14 * 86_400.0
"""A certificate that is valid for less than this is told of."""
RENEWAL_SECONDS: Final = 180.0
"""How long pods may show another certificate than the Secret's: kubelets bring a renewed one when they get to it."""
_EXPIRED: Final = 10
"""OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED."""
ANSWER_SECONDS: Final = 10.0
MOST_BYTES: Final = 1 << 20
KEY_ENTRY: Final = "operator"
"""Of the Secret of clients' keys, whose key is sent."""
QUERY: Final = "which way should i go?"
PASSAGES: Final = (
    "two roads diverged in a yellow wood",
    "turn left at the old oak and follow the river",
    "a recipe for bread with rye",
    "the train leaves at noon",
    "and both that morning equally lay",
    "in leaves no step had trodden black",
    "the price of copper rose",
    "i shall be telling this with a sigh",
)

_CERTIFICATE: Final = re.compile(rb"-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----(.*?)-----END \1-----", re.DOTALL)
"""In a PEM file. The text around them is nobody's business, and may be in any language."""

Key = tuple[str, str]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """Where to ask, and what to bring."""

    key: Key
    uid: str
    template: str
    url: str
    host: str
    keys_secret: str | None
    tls_secret: str | None
    passages: tuple[str, ...] = PASSAGES
    tells_revision: bool = True
    """Whether the runtime says of which template it is."""


@dataclass(frozen=True)
class Probe:
    """What came of asking."""

    template: str
    status: Status
    reason: Reason
    message: str
    at: datetime.datetime
    milliseconds: int | None = None
    passages: int = 0
    again_in: float = RETRY_SECONDS
    expires: datetime.datetime | None = None
    """When the certificate that was served goes out of date."""


class _NoVerdict(Exception):  # noqa: N818 - named for what it means
    """Nothing can be said of the ranking, because the operator does not get that far."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class _Wrong(Exception):  # noqa: N818
    """The answer is no ranking."""

    def __init__(self, message: str, reason: Reason = Reason.RANKING_WRONG) -> None:
        super().__init__(message)
        self.reason = reason


class _Peer(ssl.SSLObject):
    """Shows the one certificate that is asked for, and no other that it has signed, or nothing is sent to it.

    Keeps what the handshake showed, as the connection may be gone by the time that one looks.
    """

    def do_handshake(self) -> None:
        super().do_handshake()
        if self.getpeercert(binary_form=True) != self.context.wanted:  # type: ignore[attr-defined]
            raise ssl.SSLCertVerificationError("another one, which that has signed, is shown")
        self.context.seen = self.getpeercert()  # type: ignore[attr-defined]


class Prober:
    """Asks in the background, once at a time for each service, and remembers the last answer."""

    def __init__(self, kube: Kube, wake: Callable[[Key], None], now: Callable[[], datetime.datetime]) -> None:
        self._kube, self._wake, self._now = kube, wake, now
        self._began = now()
        self._last: dict[Key, tuple[Target, Probe]] = {}
        self._running: dict[Key, asyncio.Task[None]] = {}
        self._waiting: dict[Key, Target] = {}
        """What was last to be asked: where the target changes while one is asked, another one."""
        self._differs_since: dict[Key, datetime.datetime] = {}

    def latest(self, target: Target) -> Probe | None:
        """The last answer of this template."""
        asked, probe = self._last.get(target.key, (None, None))
        return probe if asked == target else None

    def due_in(self, target: Target, *, told: bool) -> float:
        """Seconds until this template is asked (again); `told` where its status says of an earlier operator's ranking.

        After a restart the first ones are spread over a beat: nothing has changed, so nothing is in a hurry.
        """
        if target.key in self._running:
            return BEAT_SECONDS  # its answer wakes whoever waits, where it is news
        last = self.latest(target)
        if last is not None:
            return max(0.0, last.again_in - (self._now() - last.at).total_seconds())
        spread = zlib.crc32("/".join(target.key).encode()) % BEAT_SECONDS if told else 0.0
        return max(0.0, spread - (self._now() - self._began).total_seconds())

    def look(self, target: Target, *, told: bool) -> None:
        """Ask if it is time to, and wake whoever waits when the answer is there."""
        self._waiting[target.key] = target
        if target.key not in self._running and self.due_in(target, told=told) <= 0:
            self._running[target.key] = asyncio.create_task(self._ask(target, told=told))

    def forget(self, key: Key) -> None:
        """The service is gone."""
        self._last.pop(key, None)
        self._waiting.pop(key, None)
        self._differs_since.pop(key, None)

    async def _ask(self, target: Target, *, told: bool) -> None:
        before = self.latest(target)
        probe = None
        try:
            probe = await self._judge(target, told=told)
            self._last[target.key] = target, probe
        finally:
            del self._running[target.key]
            is_news = probe is None or probe.status is not Status.TRUE or not _is_like(probe, before)
            if is_news or self._waiting.get(target.key) != target:
                self._wake(target.key)

    async def _judge(self, target: Target, *, told: bool) -> Probe:
        def said(status: Status, reason: Reason, message: str, **more: Any) -> Probe:
            return Probe(target.template, status, reason, message, self._now(), **more)

        begin = time.monotonic()
        try:
            revision, expires = await self._rank(target)
        except _Wrong as wrong:
            if wrong.reason is Reason.CERTIFICATE_PENDING:
                return self._renewed(target, str(wrong), told=told)
            return said(Status.FALSE, wrong.reason, f"a ranking through {target.url} came back wrong: {wrong}")
        except _NoVerdict as unknown:
            return said(Status.UNKNOWN, unknown.reason, str(unknown))
        except Exception as fault:  # noqa: BLE001
            # A fault of ours must not have the service asked again at once, and again; its words may hold a key.
            name = "/".join(target.key)
            _log.exception("%s: no ranking was asked for after a fault in the operator", name, extra={"service": name})
            words = f"the operator could not ask for a ranking ({type(fault).__name__}): its log says more"
            return said(Status.UNKNOWN, Reason.UNREACHABLE, words)
        milliseconds = round(1000 * (time.monotonic() - begin))
        self._differs_since.pop(target.key, None)
        if target.tells_revision and revision != target.template:
            older = "a pod of an earlier template answered; asked again"
            return said(Status.UNKNOWN, Reason.RANKING_PENDING, older, again_in=OLDER_SECONDS)
        right, reason = f"{len(target.passages)} passages were ranked through {target.url}", Reason.RANKED
        if expires is not None and (expires - self._now()).total_seconds() < EXPIRY_SECONDS:
            reason = Reason.CERTIFICATE_EXPIRES
            right += (
                f"; the certificate in Secret {target.tls_secret} is valid until {expires:%Y-%m-%d %H:%M} UTC: renew it"
            )
        return said(
            Status.TRUE,
            reason,
            right,
            expires=expires,
            milliseconds=milliseconds,
            passages=len(target.passages),
            again_in=BEAT_SECONDS,
        )

    def _renewed(self, target: Target, words: str, *, told: bool) -> Probe:
        """What another certificate than the Secret's means: a renewal that has not come to the pods, or a wrong one."""
        now, before = self._now(), self.latest(target)
        since = self._differs_since.setdefault(target.key, now)
        said = f"a ranking through {target.url} was not asked for: {words}"
        if (now - since).total_seconds() > RENEWAL_SECONDS:
            return Probe(target.template, Status.FALSE, Reason.RANKING_WRONG, said, now)
        # What has ranked, be it for an earlier operator, goes on being ready meanwhile; what has not waits.
        ranked = told if before is None else before.reason is not Reason.RANKING_PENDING
        reason = Reason.CERTIFICATE_PENDING if ranked else Reason.RANKING_PENDING
        return Probe(target.template, Status.UNKNOWN, reason, f"{said}; a renewed one takes about a minute", now)

    async def _rank(self, target: Target) -> tuple[str, datetime.datetime | None]:
        """One ranking; the revision of the pod that answered, and how long its certificate is valid."""
        headers = {"Host": target.host, "Content-Type": "application/json"}
        if target.keys_secret is not None:
            headers["Authorization"] = f"Bearer {await self._entry(target)}"
        more: dict[str, Any] = {}
        if target.tls_secret is not None:
            more = {"ssl": await self._trust(target), "server_hostname": target.host.partition(":")[0]}
        body = {"query": {"text": QUERY}, "passages": [{"text": text} for text in target.passages], "truncate": "END"}
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        try:
            # A connection of its own each time: one that is kept would go on to the pod it once found.
            async with (
                aiohttp.ClientSession(trust_env=False, timeout=timeout) as session,
                session.post(target.url, json=body, headers=headers, **more) as answer,
            ):
                read = bytearray()
                async for chunk in answer.content.iter_any():
                    read += chunk
                    if len(read) > MOST_BYTES:
                        break
                text = read.decode(errors="replace")
                status, revision = answer.status, answer.headers.get("X-Reranker-Revision", "")
        except TimeoutError:
            raise _NoVerdict(Reason.UNREACHABLE, f"{target.url}: no answer within {ANSWER_SECONDS:g} s") from None
        except aiohttp.ClientConnectorCertificateError as error:
            if getattr(error.certificate_error, "verify_code", None) == _EXPIRED:
                expired = f"the certificate in Secret {target.tls_secret} is out of date: renew it"
                raise _Wrong(expired, Reason.CERTIFICATE_EXPIRED) from None
            other = f"its certificate is not that of Secret {target.tls_secret}: {error}"
            raise _Wrong(other, Reason.CERTIFICATE_PENDING) from None
        except (aiohttp.ClientError, OSError) as error:
            # A connector's own words have the address of an object in memory, and would be news each time.
            words = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
            remedy = "where policies or a mesh keep the operator out, this stays unknown"
            raise _NoVerdict(Reason.UNREACHABLE, f"{target.url} cannot be reached: {words}; {remedy}") from None
        _check(target, status, text)
        seen = getattr(more.get("ssl"), "seen", None)
        if not seen:
            return revision, None
        until = ssl.cert_time_to_seconds(seen["notAfter"])
        return revision, datetime.datetime.fromtimestamp(until, datetime.UTC)

    async def _entry(self, target: Target) -> str:
        found = await self._secret(target, target.keys_secret or "", KEY_ENTRY)
        lines = [line.strip() for line in found.decode(errors="replace").splitlines() if line.strip()]
        if not lines:
            raise _NoVerdict(
                Reason.NO_KEY,
                f"Secret {target.keys_secret} has no entry {KEY_ENTRY}: add one with a key for the operator",
            )
        return lines[0]

    async def _trust(self, target: Target) -> ssl.SSLContext:
        """The Secret's first certificate must be served, and no other: whoever signed it, and under whatever names."""
        certificates = await self._secret(target, target.tls_secret or "", "tls.crt")
        # Trusts nobody yet: the certificate before is often of the same signer.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.sslobject_class = _Peer
        context.check_hostname = False  # a certificate may be for the outer name alone
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        found = _CERTIFICATE.search(certificates)
        with contextlib.suppress(ssl.SSLError, ValueError):  # the pods say more plainly what is wrong with it
            context.wanted = base64.b64decode(found[2]) if found is not None else b""  # type: ignore[attr-defined]
            context.load_verify_locations(cadata=found[0].decode("ascii") if found is not None else "")
        return context

    async def _secret(self, target: Target, name: str, entry: str) -> bytes:
        try:
            secret = await self._kube.get(Kind.SECRET, target.key[0], name)
        except KubeError as error:
            raise _NoVerdict(Reason.UNREACHABLE, f"Secret {name} cannot be read: {error}") from None
        return base64.b64decode(((secret or {}).get("data") or {}).get(entry, ""))


def _is_like(probe: Probe, before: Probe | None) -> bool:
    """Whether there is nothing to say that was not said before."""
    return before is not None and (probe.status, probe.reason, probe.message) == (
        before.status,
        before.reason,
        before.message,
    )


def _check(target: Target, status: int, text: str) -> None:
    said = " ".join(text.split())[:300]
    if status in (401, 403):
        entry = (
            f"the key under {KEY_ENTRY} in Secret {target.keys_secret}"
            if target.keys_secret
            else "a request without key"
        )
        raise _NoVerdict(Reason.NO_KEY, f"{target.url} refuses {entry}: {said}")
    if status in (429, 503):
        raise _NoVerdict(Reason.OVERLOADED, f"{target.url} answered {status}: {said}")
    if status != 200:  # noqa: PLR2004
        raise _Wrong(f"{status}: {said}")
    try:
        rankings = json.loads(text)["rankings"]
        places = [int(each["index"]) for each in rankings]
        logits = [float(each["logit"]) for each in rankings]
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise _Wrong(f"the answer is no ranking: {said}") from None
    if sorted(places) != list(range(len(target.passages))):
        raise _Wrong(f"{len(target.passages)} passages were sent, and those that came back are {places}")
    if not all(map(math.isfinite, logits)) or logits != sorted(logits, reverse=True):
        raise _Wrong(f"the logits are not finite numbers, best first: {logits}")


def target_of(service: Any, front: dict[str, Any] | None, template: str, secrets: dict[str, str]) -> Target | None:
    """Where to ask for a ranking of this service; None while its Service has no address."""
    address = ((front or {}).get("spec") or {}).get("clusterIP")
    if not address or address == "None":
        return None
    port = service.spec.service.port
    scheme = "https" if "tls" in secrets else "http"
    shown = f"[{address}]" if ":" in address else address
    return Target(
        key=(service.namespace, service.name),
        uid=service.uid,
        template=template,
        url=f"{scheme}://{shown}:{port}{contract.RANKING_PATH}",
        host=f"{service.name}.{service.namespace}.svc:{port}",
        keys_secret=secrets.get("api-keys"),
        tls_secret=secrets.get("tls"),
        passages=PASSAGES[: service.spec.server.max_passages],
        tells_revision=service.spec.runtime is Runtime.BUNDLED,
    )
