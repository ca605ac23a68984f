"""Which rows are scored together. Pure, so that later scheduling can be tested without a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def batches(lengths: Sequence[int], budget: int, max_rows: int | None = None) -> Iterator[list[int]]:
    """Rows by number, longest first, as many as fit `budget` tokens; a row longer than that goes alone.

    Longest first, because rows of one length then lie side by side, and because the largest batch then comes first:
    what does not fit into memory fails at once and not at the end.
    """
    batch: list[int] = []
    tokens = 0
    for row in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        if batch and (tokens + lengths[row] > budget or len(batch) == max_rows):
            yield batch
            batch, tokens = [], 0
        batch.append(row)
        tokens += lengths[row]
    if batch:
        yield batch
