"""Few figures, and what may be said of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

FEWEST = 3
"""Rounds below which nothing is said of who is ahead."""


@dataclass(frozen=True)
class Summary:
    """The rounds of one figure."""

    median: float
    low: float
    high: float
    rounds: int

    @property
    def spread(self) -> float:
        """How far the rounds lie around the median, as a share of it: half of what is between the
        lowest and the highest.
        """
        return (self.high - self.low) / 2 / self.median if self.median else 0.0


def summary(values: Sequence[float]) -> Summary:
    """Of at least one round."""
    return Summary(statistics.median(values), min(values), max(values), len(values))


@dataclass(frozen=True)
class Interval:
    """A median and where the true one lies."""

    median: float
    low: float
    high: float
    sure: bool
    """Whether there were enough rounds for 95 %; the range of all of them otherwise."""
    rounds: int


def interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """By order statistics: it takes nothing for granted of how the rounds are spread."""
    ordered, count = sorted(values), len(values)
    left_out = 0
    while outside(count, left_out + 1) <= 1 - confidence and 2 * (left_out + 1) < count:
        left_out += 1
    # `left_out` is how many on each side lie outside of the interval, so its ends do not.
    sure = outside(count, 0) <= 1 - confidence
    return Interval(
        statistics.median(ordered), ordered[left_out], ordered[count - 1 - left_out], sure, count
    )


def outside(count: int, left_out: int) -> float:
    """How likely the true median lies outside of what is between the (left_out + 1)th lowest and
    highest of so many rounds.
    """
    return 2 * sum(math.comb(count, below) for below in range(left_out + 1)) / 2**count


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """The ratio of two servers, round by round: what disturbs a round disturbs both."""
    return interval([our / their for our, their in zip(ours, theirs, strict=False) if their])


def verdict(ratio: Interval, lower_is_better: bool = True) -> str:
    """Ahead or behind only where all of the interval says so."""
    if ratio.rounds < FEWEST:
        return "too few rounds"
    if ratio.high < 1:
        word = "ahead" if lower_is_better else "behind"
    elif ratio.low > 1:
        word = "behind" if lower_is_better else "ahead"
    else:
        word = "level"
    return word if ratio.sure or word == "level" else f"{word}?"


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest of the sorted values that at least such a share of them does not exceed."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
