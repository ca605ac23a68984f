"""How many tokens a request has that is ranked in parts, of which only the first was tokenised.

A low guess: by a high one would be refused what could be served, and who is let in by a low one may still be told that
the time is over. So of what the first part does not show, the least is taken that it may be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from reranker_runtime.engine.rows import PREFIX_SHARE, Ask, Plan

NOTHING: Final = (0, 1)
"""What a text is taken for where none was seen: tokens and letters."""


def whole(plan: Plan, ask: Ask, parts: Sequence[Ask], limit: int) -> float:
    """Tokens of all parts, of which `ask` is planned; none where it is all there is. `limit` is that of a row."""
    others = [part for part in parts if part is not ask]
    if not others:
        return plan.work
    costs = _costs(plan)
    seen: list[tuple[int, int]] = []
    images: list[int] = []
    for passage, cost in zip(ask.passages, costs, strict=True):
        if passage.image is None:
            seen.append((cost, 1 + len(ask.query) + len(passage.text)))
        else:
            images.append(cost)
    seen = seen or [NOTHING]
    # Comprehensions that call nothing of ours: this is the event loop, and there may be 100,000 texts. Their letters
    # are those that are read for them, and 1 for tokens that there are in any case.
    letters = [
        1 + len(part.query) + len(passage.text) for part in others for passage in part.passages if passage.image is None
    ]
    pictured = sum([len(part.passages) for part in others]) - len(letters)
    image = sum(images) / len(images) if images else min(seen)[0]
    # Equal rows are scored once; the others are taken to have as many.
    apart = min(1.0, plan.work / sum(costs))
    return plan.work + apart * (_texts(seen, letters, _most(plan, ask, limit)) + pictured * image)


def _costs(plan: Plan) -> list[int]:
    """Tokens of each passage, whether or not its rows are others', too; a prefix that is computed once is in none."""
    rows = [len(row.ids) + len(plan.prefix) // PREFIX_SHARE for row in plan.rows]
    costs = [0] * plan.passages
    for passage, place in zip(plan.owners or range(len(plan.places)), plan.places, strict=True):
        costs[passage] += rows[place]
    return costs


def _most(plan: Plan, ask: Ask, limit: int) -> float:
    """Tokens of any text: of one row, or of what is read of a document in chunks, without the query in each."""
    row = limit - len(plan.prefix) + len(plan.prefix) // PREFIX_SHARE
    if ask.chunking is None:
        return row
    return min(ask.chunking.tokens or math.inf, (ask.chunking.most or math.inf) * row)


def _texts(seen: Sequence[tuple[int, int]], letters: Sequence[int], most: float) -> float:
    """Tokens of texts of so many letters, by the tokens and letters of those seen.

    The smallest seen tells what a text takes at least, with query and template, and the others what each letter beyond
    adds. One shorter than any is taken for a share of the smallest, as if all of that grew with the text.
    """
    least, fewest = min(seen)
    tokens, read = (sum(column) for column in zip(*seen, strict=True))
    further = read - len(seen) * fewest
    # Texts of nearly equal lengths say little of a letter: never more than if there were no template.
    slope = min((tokens - len(seen) * least) / further, tokens / read) if further > 0 else 0
    longest = fewest + (max(most, max(seen)[0]) - least) / slope if slope else math.inf
    beyond = slope * (_capped(letters, longest) - _capped(letters, fewest)) if slope else 0
    return least / fewest * _capped(letters, fewest) + beyond


def _capped(letters: Sequence[int], most: float) -> float:
    return sum([each if each < most else most for each in letters])  # noqa: FURB136 - a call takes thrice as long
