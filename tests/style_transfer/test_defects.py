"""Crops are bent and spoilt as often as asked, and the same for the same seed."""

import numpy as np
import pytest

from cellmill.errors import BadInput
from cellmill.style_transfer.defects import Defects
from cellmill.style_transfer.sampling import Source, sample_volumes
from cellmill.style_transfer.volumes import open_volume
from tests.style_transfer.generators import tissue

CROP = tissue((40, 64, 72))
ALL = Defects(warp=2.0, missing=0.2, folds=0.3, dark=0.3)


def applied(defects, seed=0, crop=CROP):
    return defects.applied(crop, np.random.default_rng(seed))


def test_a_seed_repeats_and_another_differs():
    np.testing.assert_array_equal(applied(ALL), applied(ALL))
    assert (applied(ALL) != applied(ALL, 1)).any()
    assert applied(ALL).dtype == np.uint8
    np.testing.assert_array_equal(applied(Defects()), CROP)
    assert not Defects()


def test_kinds_are_drawn_apart():
    """More of one kind changes no section that it does not touch."""
    few = applied(Defects(folds=0.3))
    more = applied(Defects(folds=0.3, missing=0.2))
    gone = ~more.any((1, 2))
    np.testing.assert_array_equal(few[~gone], more[~gone])
    assert 0 < gone.sum() < 20


@pytest.mark.parametrize("kind", ["missing", "folds", "dark"])
def test_as_many_sections_are_spoilt_as_asked(kind):
    changed = np.mean(
        [(applied(Defects(**{kind: 0.25}), n) != CROP).any((1, 2)).mean() for n in range(10)]
    )
    # Four standard deviations of 400 draws.
    assert abs(changed - 0.25) < 4 * (0.25 * 0.75 / 400) ** 0.5
    assert (applied(Defects(**{kind: 1.0})) != CROP).any((1, 2)).all()


def test_a_missing_section_is_empty_but_a_crop_of_one_is_kept():
    assert not applied(Defects(missing=1.0)).any()
    np.testing.assert_array_equal(applied(Defects(missing=1.0), crop=CROP[:1]), CROP[:1])


def test_a_dark_section_has_less_light_and_less_contrast():
    for dark, own in zip(applied(Defects(dark=1.0)), CROP, strict=True):
        assert 0.25 * own.mean() < dark.mean() < 0.85 * own.mean()
        assert dark.std() < 0.7 * own.std()


def test_a_fold_keeps_what_lies_before_it_and_shows_further_tissue_behind():
    """A ramp is as it was before the fold, and moved by what the fold hides behind it."""
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8), (8, 200, 200)).copy()
    folded = applied(Defects(folds=1.0), 3, ramp).astype(int)
    for section in folded:
        same = section == ramp[0]
        dark = section < ramp[0] * 0.6
        assert same.any()
        assert (dark & (ramp[0] > 20)).any()
        shift = np.abs(section - ramp[0])[~same & ~dark]
        assert shift.max() <= 17


def test_a_warp_moves_voxels_smoothly_and_each_axis_it_has():
    bent = [applied(Defects(warp=2.0), n) for n in range(4)]
    assert all(abs(b.mean() - CROP.mean()) < 5 for b in bent)
    # A plane is bent within itself alone: a ramp along y stays one along y, moved by some voxels.
    ramp = np.broadcast_to(2 * np.arange(96, dtype=np.uint8)[:, None], (1, 96, 96)).copy()
    moved = (applied(Defects(warp=2.0), 1, ramp).astype(float) - ramp)[0, 12:-12] / 2
    assert 0.5 < moved.std() < 5
    assert np.abs(np.diff(moved, axis=1)).max() < 1.5


@pytest.mark.parametrize("shape", [(1, 40, 40), (12, 1, 40), (12, 40, 1), (12, 20, 24)])
def test_crops_of_a_number_are_the_same_whatever_reads_them(shape):
    source = [Source(open_volume(CROP))]
    given = {"seed": 5, "defects": ALL}
    whole = list(sample_volumes(source, shape, count=8, threads=1, ahead=1, **given))
    later = list(sample_volumes(source, shape, count=4, start=4, threads=4, **given))
    plain = list(sample_volumes(source, shape, count=8, seed=5))
    for a, b in zip(whole[4:], later, strict=True):
        np.testing.assert_array_equal(a.values, b.values)
    assert [crop.corner for crop in whole] == [crop.corner for crop in plain]
    assert all((a.values != b.values).any() for a, b in zip(whole, plain, strict=True))


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"warp": -1.0}, "warp: expected 0 or more, found -1.0"),
        ({"folds": 1.5}, "folds: expected 0 to 1, found 1.5"),
        ({"dark": float("nan")}, "dark: expected 0 to 1, found nan"),
    ],
)
def test_what_is_impossible_is_refused(given, line):
    with pytest.raises(BadInput) as found:
        Defects(**given)
    assert line in str(found.value)
