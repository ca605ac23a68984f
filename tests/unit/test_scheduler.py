"""Which rows go next: nothing is lost, small requests go first, and nobody starves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reranker_runtime.engine.scheduler import LEAST_TOKENS, OLDEST_SHARE, Scheduler, Work

BUDGET = 1024
LENGTHS = st.lists(st.integers(1, 600), min_size=1, max_size=40)


def served(scheduler: Scheduler[str]) -> list[list[tuple[str, int]]]:
    """Batches until nothing is left."""
    batches = []
    while batch := take(scheduler):
        batches.append(batch)
    return batches


def take(scheduler: Scheduler[str]) -> list[tuple[str, int]]:
    return [(piece.work.owner, row) for piece in scheduler.take() for row in piece.rows]


@given(st.lists(LENGTHS, max_size=6), st.integers(1, 2000), st.integers(1, 8), st.none() | st.integers(1, 5))
def test_every_row_is_in_one_batch_and_no_batch_is_too_large(
    requests: list[list[int]], budget: int, workers: int, most: int | None
) -> None:
    scheduler: Scheduler[str] = Scheduler(budget, workers, most)
    for name, lengths in enumerate(requests):
        scheduler.add(Work(str(name), lengths))
    batches = served(scheduler)
    every = [row for batch in batches for row in batch]
    assert sorted(every) == sorted((str(n), row) for n, lengths in enumerate(requests) for row in range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or sum(requests[int(name)][row] for name, row in batch) <= budget
        assert len(batch) <= (most or len(batch))
    assert scheduler.tokens == 0


@given(LENGTHS)
def test_one_request_goes_longest_first(lengths: list[int]) -> None:
    scheduler: Scheduler[str] = Scheduler(BUDGET, 1)
    scheduler.add(Work("a", lengths))
    flat = [lengths[row] for batch in served(scheduler) for _, row in batch]
    assert flat == sorted(lengths, reverse=True)


@given(st.integers(1, 20), st.integers(0, 30), st.integers(1, 4))
def test_a_small_request_beside_a_large_one_is_in_the_next_batch(tokens: int, begun: int, workers: int) -> None:
    """So it waits for the batch that is being scored when it comes, and for its own: no more than two."""
    scheduler: Scheduler[str] = Scheduler(BUDGET, workers)
    scheduler.add(Work("large", [100] * 512))
    for _ in range(begun):
        take(scheduler)
    scheduler.add(Work("small", [tokens] * 10))
    assert [row for name, row in take(scheduler) if name == "small"] == list(range(10))


def test_requests_share_a_batch_and_the_oldest_keeps_its_quarter() -> None:
    scheduler: Scheduler[str] = Scheduler(BUDGET, 1)
    scheduler.add(Work("oldest", [16] * 200))
    for name in range(6):
        scheduler.add(Work(str(name), [16] * 30))
    names = [name for name, _ in take(scheduler)]
    assert names.count("oldest") == BUDGET // 16 // OLDEST_SHARE
    assert names.count("0") == 30
    assert len(names) == BUDGET // 16


@pytest.mark.parametrize("length", [100, 1000, 8000])
def test_a_large_request_never_starves_whatever_comes(length: int) -> None:
    scheduler: Scheduler[str] = Scheduler(BUDGET, 1)
    scheduler.add(Work("large", [length] * 8))
    batches = done = 0
    while done < 8:
        scheduler.add(Work("small", [50] * 30))  # more than any batch can take
        done += [name for name, _ in take(scheduler)].count("large")
        batches += 1
    assert batches <= 8 * length * OLDEST_SHARE / BUDGET * 1.5 + 8


def test_a_row_longer_than_the_budget_does_not_shut_small_ones_out() -> None:
    scheduler: Scheduler[str] = Scheduler(BUDGET, 1)
    scheduler.add(Work("large", [8000] * 4))
    assert take(scheduler) == [("large", 0)]
    scheduler.add(Work("small", [50]))
    assert take(scheduler) == [("small", 0)]


def test_the_last_batches_are_cut_so_that_workers_end_together() -> None:
    scheduler: Scheduler[str] = Scheduler(BUDGET, 4)
    scheduler.add(Work("a", [64] * 32))
    sizes = [64 * len(batch) for batch in served(scheduler)]
    assert sizes[0] == 64 * 32 / 4
    assert min(sizes) <= LEAST_TOKENS
    assert sum(sizes) == 64 * 32


def test_what_is_held_waits_and_what_is_dropped_is_gone() -> None:
    scheduler: Scheduler[str] = Scheduler(BUDGET, 1)
    works = {name: Work(name, [10] * 3) for name in "abc"}
    for work in works.values():
        scheduler.add(work)
    works["a"].held = True
    scheduler.drop(works["b"])
    assert {name for name, _ in take(scheduler)} == {"c"}
    assert take(scheduler) == []
    works["a"].held = False
    assert len(take(scheduler)) == 3
    scheduler.drop(works["a"])


SHORT = st.lists(st.integers(1, 50), min_size=1, max_size=40)


@given(st.lists(SHORT, max_size=6), SHORT)
def test_the_estimate_is_what_is_scored_before_a_new_request_is_done(requests: list[list[int]], new: list[int]) -> None:
    scheduler: Scheduler[str] = Scheduler(BUDGET, 1)
    lengths = {str(n): request for n, request in enumerate(requests)}
    for name, request in lengths.items():
        scheduler.add(Work(name, request))
    ahead = scheduler.ahead(sum(new))
    scheduler.add(Work("new", new))
    others, left = 0, len(new)
    while left:
        batch = take(scheduler)
        left -= [name for name, _ in batch].count("new")
        others += sum(lengths[name][row] for name, row in batch if name != "new")
    # Batches are whole: the one that ends the request may hold others' rows.
    assert others <= ahead + BUDGET
    assert ahead >= sum(sum(request) for request in requests if sum(request) <= sum(new))


@pytest.mark.parametrize("budget", [1, 2, 3])
def test_the_oldest_never_starves_however_small_the_budget(budget: int) -> None:
    scheduler: Scheduler[str] = Scheduler(budget, 1)
    scheduler.add(Work("oldest", [2] * 2))
    names = set()
    for number in range(20):
        scheduler.add(Work(str(number), [1]))
        names |= {name for name, _ in take(scheduler)}
    assert "oldest" in names
