"""Pure builders: what should exist for a RerankerService. No I/O, no clock, no randomness; one file per kind."""

from reranker_operator.desired.given import Given
from reranker_operator.desired.objects import Defaults, Desired, Optional, desired
from reranker_operator.desired.report import ModelReport

__all__ = ["Defaults", "Desired", "Given", "ModelReport", "Optional", "desired"]
