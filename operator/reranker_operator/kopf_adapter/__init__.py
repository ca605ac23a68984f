"""The only place that imports kopf: its watch of services fills a store, and nothing else happens here.

Low-level event handlers write nothing to anybody's resources (other kopf handlers add annotations and finalizers), and
what they raise is never retried: so they only hand the service on, and retries live in the queue.
"""

from reranker_operator.kopf_adapter.watch import Event, watch

__all__ = ["Event", "watch"]
