"""What is said of figures is no more than they show."""

from __future__ import annotations

import math

import pytest

from .statistics import interval, outside, paired, percentile, summary, verdict


def test_summary_of_rounds() -> None:
    found = summary([10.0, 12.0, 8.0])
    assert (found.median, found.low, found.high, found.rounds) == (10.0, 8.0, 12.0, 3)
    assert found.spread == pytest.approx(0.2)
    assert summary([0.0, 0.0]).spread == 0


def test_fewer_than_six_rounds_are_not_enough_for_an_interval() -> None:
    assert outside(5, 0) > 0.05 > outside(6, 0)
    few = interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (few.low, few.median, few.high, few.sure) == (1.0, 3.0, 5.0, False)
    assert interval([1.0] * 6).sure


def test_more_rounds_narrow_the_interval() -> None:
    found = interval([float(number) for number in range(1, 12)])
    # Of eleven rounds the second and the tenth: the median is outside in 1.2 % of all cases.
    assert (found.low, found.median, found.high) == (2.0, 6.0, 10.0)


def test_a_verdict_needs_the_whole_interval() -> None:
    ours, theirs = [9.0, 9.1, 9.2, 9.3, 9.4, 9.5], [10.0] * 6
    assert verdict(paired(ours, theirs)) == "ahead"
    assert verdict(paired(ours, theirs), lower_is_better=False) == "behind"
    assert verdict(paired([*ours[:5], 10.1], theirs)) == "level"
    assert verdict(paired(ours[:3], theirs[:3])) == "ahead?"
    assert verdict(paired(ours[:2], theirs[:2])) == "too few rounds"


def test_rounds_are_compared_with_each_other() -> None:
    """A disturbance of both in one round doesn't hide a difference."""
    ours, theirs = [1.0, 10.0, 1.0, 20.0, 1.0, 5.0], [1.1, 11.0, 1.1, 22.0, 1.1, 5.5]
    assert verdict(paired(ours, theirs)) == "ahead"


def test_percentiles() -> None:
    ordered = [float(number) for number in range(1, 101)]
    assert percentile(ordered, 0.5) == 50.0
    assert percentile(ordered, 0.99) == 99.0
    assert percentile(ordered, 0.999) == 100.0
    assert math.isnan(percentile([], 0.5))
