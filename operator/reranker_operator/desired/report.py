"""What the model Job says of a model: the line of JSON that `reranker-runtime verify` and `fetch` print."""

import json
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel


class ModelReport(BaseModel):
    """A verdict on a model directory (docs/pod-contract.md). Fields a later runtime adds are passed over."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    ok: bool
    digest: str | None = None
    architecture: str | None = None
    parameters: int | None = None
    dtype: str | None = None
    max_tokens: int | None = None
    reason: str | None = None
    message: str | None = None

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """The report in a termination message, or None where there is none (a crash leaves other text there)."""
        for line in reversed((text or "").strip().splitlines()):
            try:
                return cls.model_validate(json.loads(line))
            except (ValueError, ValidationError):
                continue
        return None

    def to_json(self) -> dict[str, Any]:
        """The report without what it does not say."""
        return self.model_dump(by_alias=True, exclude_none=True)


def last_words(message: str | None) -> str:
    """What a container said last, of its termination message: the message of its report, or its last line."""
    report = ModelReport.parse(message)
    if report is not None and report.message:
        return report.message
    lines = (message or "").strip().splitlines()
    return lines[-1] if lines else ""
