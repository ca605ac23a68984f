"""What the server counts. One registry per app, so that two apps in one process never share a number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from reranker_runtime.engine.rows import Plan

if TYPE_CHECKING:
    from reranker_runtime.engine.queue import Times

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
TOKENS: Final = (64, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
FILL: Final = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
COUNTS: Final = (1, 2, 5, 10, 20, 40, 80, 160, 320, 512, 1024)


class Metrics:
    """Every metric of the server, by what it counts."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # gauges beside counters, of which nobody makes use
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.ready = Gauge("reranker_ready", "1 when a warm-up ranking was scored and nothing stops", registry=registry)
        self.requests = Counter(
            "reranker_requests_total",
            "Answers; model and client are empty where a request names none that is known here",
            ["route", "model", "client", "status"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "reranker_request_seconds", "Time from request to answer", ["route"], buckets=SECONDS, registry=registry
        )
        self.refused = Counter(
            "reranker_refused_total", "Requests answered 503, by cause", ["cause"], registry=registry
        )
        self.passages = Counter("reranker_passages_total", "Passages ranked", registry=registry)
        self.request_passages = Histogram(
            "reranker_request_passages", "Passages in one request", buckets=COUNTS, registry=registry
        )
        self.tokens = Counter("reranker_tokens_total", "Tokens ranked, special tokens included", registry=registry)
        self.tokenised = Counter(
            "reranker_tokenised_characters_total",
            "Characters tokenised, for requests that were refused or given up, too",
            registry=registry,
        )
        self.truncated = Counter(
            "reranker_truncated_passages_total", "Passages that lost tokens to the limit", registry=registry
        )
        self.emptied = Counter(
            "reranker_emptied_passages_total",
            "Passages of which nothing was kept, because the query alone fills the limit",
            registry=registry,
        )
        self.queued = Gauge("reranker_queue_requests", "Requests waiting to be started", registry=registry)
        self.running = Gauge("reranker_running_requests", "Ranking requests not yet answered", registry=registry)
        self.queue_seconds = Histogram(
            "reranker_queue_seconds", "Time from tokenised to started", buckets=SECONDS, registry=registry
        )
        self.batch_seconds = Histogram(
            "reranker_batch_seconds", "Time to score one batch", buckets=SECONDS, registry=registry
        )
        self.queued_tokens = Gauge("reranker_queue_tokens", "Tokens not yet taken by a worker", registry=registry)
        self.rate = Gauge(
            "reranker_tokens_per_second", "Tokens that all workers score in a second, as measured", registry=registry
        )
        self.wait = Gauge(
            "reranker_estimated_wait_seconds", "What a request would wait now that goes last", registry=registry
        )
        self.batch_rows = Histogram("reranker_batch_rows", "Sequences in one batch", buckets=COUNTS, registry=registry)
        self.batch_tokens = Histogram("reranker_batch_tokens", "Tokens in one batch", buckets=TOKENS, registry=registry)
        self.batch_fill = Histogram(
            "reranker_batch_fill_ratio",
            "Tokens of a batch by the tokens that one may have",
            buckets=FILL,
            registry=registry,
        )
        self.tokenise_seconds = Histogram(
            "reranker_tokenise_seconds",
            "Time to tokenise one request, waiting included",
            buckets=SECONDS,
            registry=registry,
        )
        self.score_seconds = Histogram(
            "reranker_score_seconds", "Time from a request's first row to its last", buckets=SECONDS, registry=registry
        )
        self.duplicates = Counter(
            "reranker_duplicate_passages_total",
            "Passages, or chunks, that had the tokens of another in their request and cost nothing",
            registry=registry,
        )
        self.prefix_saved = Counter(
            "reranker_prefix_tokens_saved_total",
            "Tokens not computed because rows of a request begin alike",
            registry=registry,
        )
        self.held_bytes = Gauge(
            "reranker_request_bytes",
            "Bytes of the bodies being received or ranked, and of answers not yet read",
            registry=registry,
        )
        self.chunks = Counter("reranker_chunks_total", "Chunks that long documents were read in", registry=registry)
        self.device_memory = Gauge(
            "reranker_device_memory_bytes", "Memory in use on each device", ["device"], registry=registry
        )
        self.device_memory_size = Gauge(
            "reranker_device_memory_size_bytes", "Memory that each device has", ["device"], registry=registry
        )
        self.connections = Gauge(
            "reranker_connections", "Open connections, TLS handshakes included", ["port"], registry=registry
        )
        self.dropped = Counter(
            "reranker_dropped_connections_total",
            "Connections ended because the peer was slow, unread, malformed, sent too many headers, or failed at TLS",
            ["port", "cause"],
            registry=registry,
        )
        self.reload_failures = Counter(
            "reranker_reload_failures_total",
            "Changed files that could not be used, so that the old ones stay in force",
            ["what"],
            registry=registry,
        )
        self.build = Gauge(
            "reranker_build_info",
            "Always 1; what is running",
            ["version", "torch", "device", "dtype"],
            registry=registry,
        )

    def count(self, plan: Plan, times: Times) -> None:
        """One ranking that was answered."""
        self.passages.inc(plan.passages)
        self.tokens.inc(plan.tokens)
        self.truncated.inc(plan.truncated)
        self.emptied.inc(plan.emptied)
        self.duplicates.inc(len(plan.places) - len(set(plan.places)))
        self.prefix_saved.inc(len(plan.prefix) * (len(plan.rows) - 1))
        if plan.owners is not None:
            self.chunks.inc(len(plan.owners))
        if times.tokenised is not None:
            self.tokenise_seconds.observe(times.tokenised - times.begun)
        if times.started is not None and times.scored is not None:
            self.score_seconds.observe(times.scored - times.started)
