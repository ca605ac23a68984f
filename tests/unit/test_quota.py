"""What a client may have ranked in a minute: whatever is asked in whatever order, on average no more than that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reranker_runtime.errors import RateLimited
from reranker_runtime.http.quota import FEW, Quota

WAITS = st.floats(0, 200)
SIZES = st.integers(1, 5000)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_client_is_let_in_while_anything_is_left_and_pays_off_what_it_took() -> None:
    clock = Clock()
    quota = Quota(600, clock)  # ten a second
    quota.take("a", 599)
    quota.take("a", 101)  # 100 beyond
    with pytest.raises(RateLimited) as refused:
        quota.check("a")
    assert (refused.value.status, refused.value.retry_after) == (429, 11)
    assert "client a has used up its 600 tokens a minute" in refused.value.message
    assert "RERANKER_TOKENS_PER_MINUTE" in refused.value.message
    with pytest.raises(RateLimited):
        quota.take("a", 1)
    quota.check("b")
    clock.now += 10
    with pytest.raises(RateLimited) as refused:  # nothing owed, but nothing left either
        quota.check("a")
    assert refused.value.retry_after == 1
    clock.now += 1
    quota.check("a")


def test_what_nobody_used_is_not_saved_up() -> None:
    clock = Clock()
    quota = Quota(600, clock)
    clock.now += 3600
    quota.take("a", 600)
    with pytest.raises(RateLimited):
        quota.check("a")


@given(st.integers(1, 10_000), st.lists(st.tuples(WAITS, SIZES), max_size=50))
def test_no_more_than_the_limit_and_one_request_on_average(limit: int, asked: list[tuple[float, int]]) -> None:
    clock = Clock()
    quota = Quota(limit, clock)
    begin, taken = clock.now, 0
    for wait, tokens in asked:
        clock.now += wait
        try:
            quota.take("a", tokens)
        except RateLimited:
            continue
        taken += tokens
        assert taken <= limit + limit / 60 * (clock.now - begin) + tokens


@given(st.integers(1, 10_000), SIZES)
def test_who_comes_back_when_told_is_let_in_and_a_second_earlier_is_not(limit: int, beyond: int) -> None:
    clock = Clock()
    quota = Quota(limit, clock)
    quota.take("a", limit + beyond)
    with pytest.raises(RateLimited) as refused:
        quota.check("a")
    wait = refused.value.retry_after
    assert wait is not None
    clock.now += wait + 1e-6
    quota.check("a")
    clock.now -= 1.00001
    with pytest.raises(RateLimited):
        quota.check("a")


def test_clients_that_come_no_more_need_no_memory() -> None:
    clock = Clock()
    quota = Quota(60, clock)
    for n in range(FEW * 20):
        quota.take(str(n), 60)
        clock.now += 0.1  # so that 600 of them are not yet full again
    assert len(quota._balances) <= 2 * FEW


def test_without_a_limit_nobody_is_refused_or_remembered() -> None:
    quota = Quota(None, Clock())
    for _ in range(3):
        quota.take("a", 10**9)
    assert not quota._balances
