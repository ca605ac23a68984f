"""The only place that imports kopf: its watch of services becomes keys in the queue, and nothing else happens here.

Low-level event handlers write nothing to anybody's resources (other kopf handlers add annotations and finalizers), and
what they raise is never retried: so they only name the service, and retries live in the queue.
"""

from reranker_operator.kopf_adapter.watch import watch

__all__ = ["watch"]
