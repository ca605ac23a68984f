"""What the server counts. One registry per app, so that two apps in one process never share a number."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
TOKENS: Final = (64, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
COUNTS: Final = (1, 2, 5, 10, 20, 40, 80, 160, 320, 512, 1024)


class Metrics:
    """Every metric of the server, by what it counts."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.ready = Gauge("reranker_ready", "1 when a warm-up ranking was scored and nothing stops", registry=registry)
        self.requests = Counter(
            "reranker_requests_total", "Answers by route and status", ["route", "status"], registry=registry
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
            "reranker_estimated_wait_seconds", "What a small request would wait if it came now", registry=registry
        )
        self.batch_rows = Histogram("reranker_batch_rows", "Sequences in one batch", buckets=COUNTS, registry=registry)
        self.batch_tokens = Histogram("reranker_batch_tokens", "Tokens in one batch", buckets=TOKENS, registry=registry)
