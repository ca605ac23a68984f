"""`spec.rollout`: how pods of a changed template take the place of the old ones where GPUs are scarce."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from reranker_operator.api.base import ApiType


class RolloutStrategy(StrEnum):
    """Which pod goes first."""

    AUTO = "Auto"
    SURGE = "Surge"
    REPLACE = "Replace"


class OnFailure(StrEnum):
    """What to do when a rollout makes no progress for its deadline."""

    HOLD = "Hold"
    ROLLBACK = "Rollback"


class Rollout(ApiType):
    """How a changed template is rolled out."""

    strategy: RolloutStrategy = RolloutStrategy.AUTO
    """Surge starts one extra pod first, which takes a spare GPU; Replace takes one pod down, then starts one; Auto
    begins as Surge, and becomes Replace for a rollout whose new pod fits no node."""
    surge_timeout_seconds: Annotated[int, Field(ge=0, le=86_400)] = 60
    """With Auto, how long a new pod may fit no node before one of the old pods makes room: the time that node
    autoscalers get."""
    progress_deadline_seconds: Annotated[int, Field(ge=10, le=86_400)] = 1800
    """How long a rollout may make no progress before it has failed. A large model may take many minutes to load."""
    on_failure: OnFailure = OnFailure.HOLD
    """Hold leaves a failed rollout as it is, with the old pods that are left; Rollback returns to the last template
    that was Ready. The spec stays as it is written."""
