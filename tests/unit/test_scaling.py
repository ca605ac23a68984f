"""The scaler's arithmetic: what a HorizontalPodAutoscaler would make of the same numbers, and what it must never do."""

from __future__ import annotations

import contextlib
import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reranker_operator import contract
from reranker_operator.reconcile.scaling.decide import Bounds, History, recommend
from reranker_operator.reconcile.scaling.readings import Reading, Sample, reading
from reranker_operator.reconcile.scaling.rules import Direction, Policy, Rules, Select, Unit
from reranker_runtime.metrics import Metrics

DEFAULT = Rules.of(None)
SOON = Rules.of({"scaleDown": {"stabilizationWindowSeconds": 0}})
FREE = Bounds(1, 100)
PERIOD = 15.0


def waits(*seconds: float, busy: float = 0.0) -> list[Reading]:
    return [Reading(each, busy) for each in seconds]


# How many pods the readings call for


@pytest.mark.parametrize(
    ("current", "seconds", "wanted"),
    [
        (2, [1.0, 1.0], 4),
        (2, [1.6, 2.0], 8),
        (3, [0.55, 0.55, 0.55], 3),  # within a tenth of 0.5
        (3, [0.56, 0.56, 0.56], 4),
        (10, [0.45] * 10, 10),
        (10, [0.44] * 10, 9),
        (4, [0.0] * 4, 0),
        (4, [0.2, 0.2, 0.2, 0.2], 2),
        (2, [], None),
        # Missing pods: nobody waits in them when there are too few, exactly on target when there are too many.
        (4, [1.0, 1.0], 4),
        (4, [3.0, 3.0], 12),
        (4, [0.6], 4),
        (4, [0.0, 0.0], 2),
        (4, [0.0], 3),
        # A surge pod more than was asked for counts in the average alone.
        (2, [1.0, 1.0, 1.0], 4),
        (1, [86_400.0], 172_800),
    ],
)
def test_as_many_pods_as_bring_the_wait_to_its_target(current: int, seconds: list[float], wanted: int | None) -> None:
    assert recommend(current, waits(*seconds), 0.5, DEFAULT) == wanted


def test_tolerances_of_the_behavior_count() -> None:
    rules = Rules.of({"scaleUp": {"tolerance": "500m"}, "scaleDown": {"tolerance": 0}})
    assert recommend(2, waits(0.75, 0.75), 0.5, rules) == 2
    assert recommend(2, waits(0.76, 0.76), 0.5, rules) == 4
    assert recommend(10, waits(*[0.44] * 10), 0.5, rules) == 9


def test_pods_that_are_needed_stay_though_nobody_waits() -> None:
    """Queues are empty until pods are full: four at half their capacity are three at two thirds, and never one."""
    assert recommend(4, waits(0, 0, 0, 0, busy=0.5), 0.5, DEFAULT) == 3
    assert recommend(4, waits(0, 0, 0, 0, busy=0.69), 0.5, DEFAULT) == 4
    assert recommend(4, waits(0, 0, 0, 0, busy=0.01), 0.5, DEFAULT) == 1
    assert recommend(2, waits(0, 0, busy=1.0), 0.5, DEFAULT) == 2  # it is no reason to have more
    # Those that cannot be read may be those that have most to do.
    assert recommend(4, waits(0, 0, busy=0.65), 0.5, DEFAULT) == 4
    assert recommend(10, waits(*[0] * 5, busy=0.69), 0.5, DEFAULT) == 10


def test_pods_whose_batches_are_longer_than_a_look_stay() -> None:
    """Four of them are busy all the time, and each tells of it once in four looks."""
    asked = []
    for look in range(40):
        busy = [4.0 if (look + pod) % 4 == 0 else 0.0 for pod in (0, 0, 1, 2)]
        asked.append(recommend(4, [Reading(0.0, each) for each in busy], 0.5, DEFAULT))
    assert set(play(asked, DEFAULT, begin=4)) == {4}
    # While one batch now and then keeps no pod.
    assert (
        play([recommend(4, waits(0, 0, 0, busy=0.0) + waits(0, busy=1.5), 0.5, DEFAULT)] * 21, DEFAULT, begin=4)[-1]
        == 3
    )


def test_a_target_of_next_to_nothing_overflows_nothing() -> None:
    assert recommend(2, waits(86_400, 86_400), 5e-324, DEFAULT) == 1_000_000


@given(
    current=st.integers(1, 50),
    seconds=st.lists(st.floats(0, 1e5), max_size=60),
    target=st.floats(1e-3, 3600),
    busy=st.floats(0, 1),
)
def test_inside_its_tolerance_nothing_is_recommended(
    current: int, seconds: list[float], target: float, busy: float
) -> None:
    inside = [target * (0.91 + 0.18 * (each / 1e5)) for each in seconds]
    assert recommend(current, waits(*inside, busy=busy), target, DEFAULT) in (current, None)


@given(
    current=st.integers(1, 50), seconds=st.lists(st.floats(0, 100), min_size=1, max_size=50), target=st.floats(0.01, 99)
)
def test_more_waiting_never_calls_for_fewer_pods(current: int, seconds: list[float], target: float) -> None:
    less, more = (recommend(current, waits(*each), target, DEFAULT) for each in (seconds, [s * 1.5 for s in seconds]))
    assert less is not None
    assert more is not None
    assert less <= more


# Windows, rates and bounds


def play(
    recommendations: list[int | None], rules: Rules, bounds: Bounds = FREE, begin: int = 1, period: float = PERIOD
) -> list[int]:
    """The number of pods after each look."""
    history, pods, after = History(), begin, []
    for look, recommended in enumerate(recommendations):
        wanted = history.decide(look * period, pods, recommended, bounds, rules)
        if wanted != pods:
            history.scaled(look * period, pods, wanted)
        pods = wanted
        after.append(pods)
    return after


@pytest.mark.parametrize(
    ("behavior", "begin", "recommendations", "pods"),
    [
        # Four pods or twice as many every 15 seconds, whichever is more.
        ({}, 1, [50] * 5, [5, 10, 20, 40, 50]),
        # Down at once, but only when the last five minutes have asked for no more.
        ({}, 8, [1] * 22, [8] * 20 + [1, 1]),
        ({}, 8, [1] * 10 + [6] + [1] * 25, [8] * 20 + [6] * 10 + [1] * 6),
        ({"scaleDown": {"stabilizationWindowSeconds": 0}}, 8, [1, 1], [1, 1]),
        ({"scaleUp": {"stabilizationWindowSeconds": 30}}, 1, [5, 5, 3, 5, 5], [1, 1, 3, 3, 5]),
        (
            {"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}},
            1,
            [9] * 9,
            [2] * 4 + [3] * 4 + [4],
        ),
        (
            {"scaleUp": {"policies": [{"type": "Percent", "value": 10, "periodSeconds": 15}]}},
            10,
            [50] * 4,
            [11, 13, 15, 17],
        ),
        (
            {
                "scaleDown": {
                    "stabilizationWindowSeconds": 0,
                    "selectPolicy": "Min",
                    "policies": [
                        {"type": "Pods", "value": 2, "periodSeconds": 15},
                        {"type": "Percent", "value": 50, "periodSeconds": 15},
                    ],
                }
            },
            10,
            [1] * 6,
            [8, 6, 4, 2, 1, 1],
        ),
        ({"scaleUp": {"selectPolicy": "Disabled"}}, 2, [50], [2]),
        ({"scaleDown": {"selectPolicy": "Disabled", "stabilizationWindowSeconds": 0}}, 8, [1, 1], [8, 8]),
        ({}, 3, [None, None], [3, 3]),
    ],
)
def test_windows_and_rates(
    behavior: dict[str, Any], begin: int, recommendations: list[int | None], pods: list[int]
) -> None:
    assert play(recommendations, Rules.of(behavior), begin=begin) == pods


def test_bounds_hold_at_once_whatever_is_read() -> None:
    slow = Rules.of({"scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}})
    assert play([None], slow, Bounds(2, 4), begin=9) == [4]
    assert play([None], slow, Bounds(2, 4), begin=1) == [2]
    assert play([50], DEFAULT, Bounds(2, 4), begin=2) == [4]
    assert play([0], SOON, Bounds(2, 4), begin=4) == [2]


def test_after_a_long_silence_pods_stay_as_after_a_restart() -> None:
    """What was recommended before says nothing any more, and the first word afterwards may be wrong."""
    assert play([8] * 4 + [None] * 40 + [1] * 21, DEFAULT, begin=8) == [8] * 64 + [1]
    # A shorter one leaves the window as it was.
    assert play([8] * 4 + [None] * 10 + [1] * 11, DEFAULT, begin=8) == [8] * 23 + [1] * 2


policies = st.lists(
    st.builds(Policy, st.sampled_from(Unit), st.integers(1, 200), st.sampled_from([15, 30, 60, 300])),
    min_size=1,
    max_size=3,
)
directions = st.builds(Direction, st.sampled_from([0, 30, 300]), policies.map(tuple), st.sampled_from(Select))
looks = st.lists(st.one_of(st.none(), st.integers(0, 60)), min_size=1, max_size=60)


@given(st.builds(Rules, directions, directions), looks, st.integers(1, 40), st.integers(1, 20), st.integers(0, 20))
def test_it_never_leaves_its_bounds(
    rules: Rules, recommendations: list[int | None], begin: int, least: int, room: int
) -> None:
    bounds = Bounds(least, least + room)
    assert all(bounds.least <= pods <= bounds.most for pods in play(recommendations, rules, bounds, begin))


@given(st.builds(Rules, directions, directions), looks, st.integers(1, 40))
def test_it_is_never_faster_than_its_policies(rules: Rules, recommendations: list[int | None], begin: int) -> None:
    """Told from the outside: by the number of pods at the begin of every policy's period."""
    after = play(recommendations, rules, Bounds(1, 1000), begin)
    for look, (before, now) in enumerate(itertools.pairwise([begin, *after])):
        direction = rules.up if now > before else rules.down
        if now == before:
            continue
        assert direction.select is not Select.DISABLED
        allowed = []
        for policy in direction.policies:
            # The number just before everything that happened within the period.
            first = max(0, look - math.ceil(policy.seconds / PERIOD) + 1)
            pods = [begin, *after][first]
            change = policy.value if policy.unit is Unit.PODS else pods * policy.value / 100
            allowed.append(math.ceil(pods + change) if now > before else math.floor(pods - change))
        if now > before:
            assert now <= (min(allowed) if direction.select is Select.MIN else max(allowed))
        else:
            assert now >= (max(allowed) if direction.select is Select.MIN else min(allowed))


@given(st.builds(Rules, directions, directions), looks, st.integers(1, 40))
def test_it_goes_no_further_than_its_windows_agree_upon(
    rules: Rules, recommendations: list[int | None], begin: int
) -> None:
    after = play(recommendations, rules, Bounds(1, 1000), begin)
    for look, (before, now) in enumerate(itertools.pairwise([begin, *after])):
        for window, further in ((rules.up.window, now > before), (rules.down.window, now < before)):
            within = recommendations[max(0, look - max(0, math.ceil(window / PERIOD) - 1)) : look + 1]
            said = [each for each in within if each is not None]
            if further and now > before:
                assert now <= min(said)
            elif further:
                assert now >= max(1, *said)


@given(looks)
def test_what_was_added_stays_for_five_minutes(recommendations: list[int | None]) -> None:
    """With the defaults, a queue that asks now for more and now for less does not make pods come and go."""
    after = play([each and 2 + each % 4 for each in recommendations], DEFAULT, begin=4)
    down = [look for look, (before, now) in enumerate(itertools.pairwise([4, *after])) if now < before]
    up = [look for look, (before, now) in enumerate(itertools.pairwise([4, *after])) if now > before]
    for raised in up:
        assert all(not raised < lowered < raised + 300 / PERIOD for lowered in down)


# What pods say

PAGE = """\
# HELP reranker_queue_seconds Time from tokenised to started
# TYPE reranker_queue_seconds histogram
reranker_queue_seconds_bucket{{le="0.005"}} 3.0
reranker_queue_seconds_count {started}
reranker_queue_seconds_sum {waited}
reranker_queue_requests {waiting}
reranker_refused_total{{cause="estimated_wait"}} {refused}
reranker_refused_total{{cause="not_ready"}} 77.0
reranker_batch_tokens_sum {tokens}
reranker_tokens_per_second {rate}
"""


def sample(at: float, **values: float) -> Sample:
    known = {"started": 0, "waited": 0, "waiting": 0, "refused": 0, "tokens": 0, "rate": 100, **values}
    return Sample.parse(PAGE.format(**known), at)


def test_the_runtimes_own_page_is_understood() -> None:
    from prometheus_client import generate_latest  # noqa: PLC0415

    metrics = Metrics()
    metrics.queue_seconds.observe(2.5)
    metrics.queued.set(3)
    metrics.batch_tokens.observe(640)
    metrics.rate.set(1234.5)
    for cause in contract.REFUSED_FOR_THE_WAIT:
        metrics.refused.labels(cause).inc()
    metrics.refused.labels("stopping").inc()
    page = generate_latest(metrics.registry).decode()
    assert Sample.parse(page, 9.0) == Sample(9.0, 2.5, 1, 4, 3, 640, 1234.5)


@pytest.mark.parametrize(
    ("before", "now", "read"),
    [
        ({}, {"started": 4, "waited": 2}, Reading(0.5)),
        ({"started": 4, "waited": 2}, {"started": 4, "waited": 2}, Reading(0.0)),
        ({"started": 4, "waited": 2}, {"started": 6, "waited": 2.5}, Reading(0.25)),
        # Who was refused would have waited the ten seconds that one may.
        ({}, {"started": 1, "waited": 0, "refused": 1}, Reading(5.0)),
        ({"refused": 5}, {"refused": 8}, Reading(10.0)),
        # Nobody was started, and somebody waits: for how long will be known when they are.
        ({}, {"waiting": 2}, None),
        ({}, {"waiting": 2, "started": 1, "waited": 3}, Reading(3.0)),
        # A container that was started again counts from nothing.
        ({"started": 9, "waited": 2}, {"started": 1, "waited": 3}, None),
        ({}, {"tokens": 750}, Reading(0.0, 0.5)),
        # A batch that took a minute.
        ({}, {"tokens": 6000}, Reading(0.0, 4.0)),
        ({}, {"tokens": 1e300}, Reading(0.0, 1000.0)),
        ({}, {"tokens": 1, "rate": 0}, Reading(0.0, 1.0)),
        ({}, {"rate": 0}, Reading(0.0, 0.0)),
        ({}, {"started": 1, "waited": 1e300}, Reading(86_400.0)),
    ],
)
def test_a_reading_is_what_happened_between_two_looks(
    before: dict[str, float], now: dict[str, float], read: Reading | None
) -> None:
    assert reading(sample(0, **before), sample(PERIOD, **now), 10.0) == read


def test_one_look_alone_says_nothing() -> None:
    assert reading(None, sample(0, started=1, waited=9), 10.0) is None


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("", "it has no reranker_queue_seconds_sum"),
        ("<html>not found</html>", "it has no reranker_queue_seconds_sum"),
        ("reranker_queue_seconds_sum 1\n", "it has no reranker_queue_seconds_count"),
        ("reranker_queue_seconds_sum NaN\n", "its reranker_queue_seconds_sum is NaN"),
        ("reranker_queue_seconds_sum -1\n", "its reranker_queue_seconds_sum is -1"),
        ("reranker_queue_seconds_sum +Inf\n", r"its reranker_queue_seconds_sum is \+Inf"),
        ("reranker_queue_seconds_sum soon\n", "its reranker_queue_seconds_sum is soon"),
    ],
)
def test_what_is_no_number_is_named(page: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Sample.parse(page, 0)


@given(st.text())
def test_any_page_is_read_or_refused(page: str) -> None:
    for text in (page, "\n".join(f"{name} {page}" for name in contract.QUEUE_METRICS)):
        with contextlib.suppress(ValueError):
            Sample.parse(text, 0)
