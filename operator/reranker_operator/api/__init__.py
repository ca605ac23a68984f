"""The RerankerService API: the pydantic types here are the only source of the CRD, its defaults and its reference."""

from reranker_operator.api.conditions import Condition, ConditionType, EventReason, Reason
from reranker_operator.api.resource import GROUP, KIND, PLURAL, VERSION, Identity, InvalidResourceError, RerankerService

__all__ = [
    "GROUP",
    "KIND",
    "PLURAL",
    "VERSION",
    "Condition",
    "ConditionType",
    "EventReason",
    "Identity",
    "InvalidResourceError",
    "Reason",
    "RerankerService",
]
