"""Exponents and intervals hold what they were made with, as often as they say."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellmill.benchmark.statistics import CONFIDENCE, Mean, growth, paired_ratio

SIZES = np.array([0.05, 0.1, 0.2, 0.5, 1.0, 2.0]) * 1e6


@given(st.floats(0.2, 2.5), st.floats(1e-9, 1e-3))
def test_a_power_law_without_noise_is_found(exponent, factor):
    found = growth(SIZES, factor * SIZES**exponent)
    assert found.exponent == pytest.approx(exponent, abs=1e-6)
    assert found.low <= found.exponent <= found.high
    assert found.at(3e6) == pytest.approx(factor * 3e6**exponent, rel=1e-4)


def test_a_line_without_noise_is_found():
    found = growth(SIZES, 1000.0 + 40 * SIZES)
    assert found.per_pixel == pytest.approx(40)
    assert found.base == pytest.approx(1000, rel=1e-3)


def test_intervals_of_exponents_hold_the_true_one_as_often_as_they_say():
    rng = np.random.default_rng(1)
    held, draws = 0, 400
    for _ in range(draws):
        values = 1e-6 * SIZES**1.2 * np.exp(0.1 * rng.standard_normal(SIZES.size))
        found = growth(SIZES, values)
        held += found.low <= 1.2 <= found.high
    spread = math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / draws)
    assert abs(held / draws - CONFIDENCE) < 3.5 * spread


@pytest.mark.parametrize("pixels", [[1, 2], [1, 1, 2], []])
def test_fewer_than_three_sizes_carry_no_exponent(pixels):
    assert growth(pixels, [1.0] * len(pixels)) is None


def test_a_mean_is_apart_only_where_intervals_are():
    quick, slow = Mean.of([1.0, 1.1, 0.9]), Mean.of([2.0, 2.1, 1.9])
    assert quick.below(slow)
    assert not slow.below(quick)
    assert not quick.below(Mean.of([1.2, 1.5, 0.9]))
    assert not Mean.of([1.0]).below(Mean.of([100.0])), "one repeat has no interval"
    assert Mean.of([1.0, 3.0]).sd == pytest.approx(math.sqrt(2))


def repeats(rng, factor, noise, conditions=6, count=5):
    return {
        str(i): list(factor * (i + 1) * np.exp(noise * rng.standard_normal(count)))
        for i in range(conditions)
    }


@pytest.mark.parametrize("factor", [1.0, 1.2, 0.7])
def test_a_paired_ratio_holds_the_true_one(factor):
    rng = np.random.default_rng(2)
    found = paired_ratio(repeats(rng, factor, 0.02), repeats(rng, 1.0, 0.02))
    assert found.low <= factor <= found.high
    assert found.high / found.low < 1.1
    assert found.conditions == 6


def test_the_same_repeats_have_the_same_interval_and_what_has_no_pair_none():
    rng = np.random.default_rng(3)
    new, old = repeats(rng, 1.1, 0.05), repeats(rng, 1.0, 0.05)
    assert paired_ratio(new, old) == paired_ratio(new, old)
    assert paired_ratio(new, {}) is None
    assert paired_ratio({"0": new["0"]}, old) is None
