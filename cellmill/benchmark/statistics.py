"""Means with intervals, growth by a power of the pixels, and ratios drawn anew from repeats."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

#: What intervals hold.
CONFIDENCE = 0.95
#: Fewer sizes carry no exponent: a line through two points fits anything.
LEAST_SIZES = 3
DRAWS = 4000


@dataclass(frozen=True)
class Mean:
    """A mean of repeats, of one process or of several.

    Attributes:
        value: the mean.
        sd: standard deviation of one repeat, n − 1 in the denominator; 0 of one.
        count: how many repeats.
        low: lower end of the mean's interval by Student's t; −∞ of one repeat.
        high: upper end; ∞ of one repeat.
    """

    value: float
    sd: float
    count: int
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Mean:
        """Take the mean of at least one value."""
        data = np.asarray(values, np.float64)
        value = float(data.mean())
        if data.size < 2:
            return cls(value, 0.0, int(data.size), -math.inf, math.inf)
        sd = float(data.std(ddof=1))
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, data.size - 1)) * sd / math.sqrt(data.size)
        return cls(value, sd, int(data.size), value - half, value + half)

    @classmethod
    def over(cls, processes: Sequence[Sequence[float]]) -> Mean:
        """Take the mean over processes that repeated the same.

        Repeats of one process share what differs from process to process. Where there are several,
        the interval is that of the processes' means, unless that of all repeats is wider.
        """
        pooled = cls.of([value for each in processes for value in each])
        if len(processes) < 2:
            return pooled
        between = cls.of([sum(each) / len(each) for each in processes])
        low, high = min(pooled.low, between.low), max(pooled.high, between.high)
        return cls(pooled.value, pooled.sd, pooled.count, low, high)

    def below(self, other: Mean) -> bool:
        """Whether the whole interval lies below another's."""
        return self.high < other.low


@dataclass(frozen=True)
class Growth:
    """How something grows with the pixels: `factor · pixels ** exponent`, or by the pixel.

    Attributes:
        exponent: slope of the logarithms.
        low: lower end of its interval.
        high: upper end.
        factor: at one pixel.
        sizes: how many sizes it is fitted to.
        per_pixel: slope of a straight line, units a pixel.
        per_pixel_low: lower end of its interval.
        per_pixel_high: upper end.
        base: what the straight line has at no pixels.
    """

    exponent: float
    low: float
    high: float
    factor: float
    sizes: int
    per_pixel: float
    per_pixel_low: float
    per_pixel_high: float
    base: float

    def at(self, pixels: float) -> float:
        """The power law's value at a size."""
        return float(self.factor * pixels**self.exponent)


def growth(pixels: Sequence[float], values: Sequence[float]) -> Growth | None:
    """Fit how values grow with the pixels, by least squares of logarithms and of the values.

    A point is a size: repeats of one size share what departs from the law, and would make the
    interval narrower than it is. Intervals are by Student's t with `sizes − 2` degrees of freedom.

    Args:
        pixels: sizes, each once.
        values: at these sizes, above 0.

    Returns:
        None where there are fewer than three sizes, or a value is not above 0.
    """
    x, y = np.asarray(pixels, np.float64), np.asarray(values, np.float64)
    if np.unique(x).size < LEAST_SIZES or (y <= 0).any():
        return None
    slope, low, high, intercept = _line(np.log(x), np.log(y))
    linear, linear_low, linear_high, base = _line(x, y)
    return Growth(
        slope, low, high, math.exp(intercept), int(x.size), linear, linear_low, linear_high, base
    )


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float, float]:
    """Slope, the ends of its interval, and intercept."""
    fit = stats.linregress(x, y)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, x.size - 2)) * float(fit.stderr)
    return float(fit.slope), float(fit.slope) - half, float(fit.slope) + half, float(fit.intercept)


@dataclass(frozen=True)
class Ratio:
    """How many times as much something takes as before, over several conditions.

    Attributes:
        value: geometric mean of the conditions' ratios.
        low: lower end of its interval.
        high: upper end.
        conditions: how many.
    """

    value: float
    low: float
    high: float
    conditions: int


def paired_ratio(
    after: Mapping[str, Sequence[float]], before: Mapping[str, Sequence[float]]
) -> Ratio | None:
    """Take the ratio of means, paired by condition, and its interval by bootstrap.

    Conditions are drawn with replacement, and within each the repeats of both sides: what differs
    from process to process is in the interval by the spread of conditions, what differs from repeat
    to repeat by theirs. The generator has a fixed seed: equal tables give equal intervals.

    Args:
        after: repeats by condition, above 0.
        before: the same of the baseline.

    Returns:
        None where fewer than two conditions are in both: there is nothing to pair.
    """
    shared = [name for name in after if before.get(name) and after[name]]
    if len(shared) < 2:
        return None
    drawn = np.random.default_rng(0)
    pairs = [(np.asarray(after[name]), np.asarray(before[name])) for name in shared]
    logs = np.stack([_drawn_means(drawn, a) - _drawn_means(drawn, b) for a, b in pairs])
    picked = drawn.integers(len(pairs), size=(len(pairs), DRAWS))
    sums = np.take_along_axis(logs, picked, axis=0).mean(axis=0)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.exp(np.quantile(sums, [tail, 1 - tail]))
    value = math.exp(np.mean([math.log(a.mean() / b.mean()) for a, b in pairs]))
    return Ratio(value, float(low), float(high), len(pairs))


def _drawn_means(drawn: np.random.Generator, values: np.ndarray) -> np.ndarray:
    """Logarithms of the means of values drawn with replacement."""
    picked = drawn.integers(values.size, size=(DRAWS, values.size))
    return np.log(values[picked].mean(axis=1))
