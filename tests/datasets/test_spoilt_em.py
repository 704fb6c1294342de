"""Volumes are spoilt the same way each time, section by section, and in no other way than asked."""

import numpy as np
import pytest

from cellmill.datasets.spoilt_em import spoil
from cellmill.errors import BadInput

VALUES = np.random.default_rng(0).integers(0, 256, (3, 64, 70), np.uint8)
NOTHING = {"blur": 0.0, "warp": 0.0, "holes": 0.0}


def test_a_section_follows_from_seed_and_number():
    spoilt = spoil(VALUES, seed=3)
    np.testing.assert_array_equal(spoilt[:2], spoil(VALUES[:2], seed=3))
    assert (spoilt != spoil(VALUES, seed=4)).any()
    same = spoil(np.stack([VALUES[0]] * 2), seed=3)
    assert (same[0] != same[1]).any()


def test_nothing_asked_changes_nothing():
    np.testing.assert_array_equal(spoil(VALUES, **NOTHING), VALUES)


def test_holes_cover_about_what_was_asked_and_no_more_is_changed():
    spoilt = spoil(VALUES, **{**NOTHING, "holes": 0.1})
    changed = spoilt != VALUES
    assert 0.04 < changed.mean() < 0.12
    for section, grey in zip(changed, spoilt, strict=True):
        assert len(np.unique(grey[section])) == 1


def test_blur_takes_what_is_fine_and_bends_keep_the_mean():
    assert spoil(VALUES, **{**NOTHING, "blur": 2.0}).std() < VALUES.std() / 3
    bent = spoil(VALUES, **{**NOTHING, "warp": 1.0})
    assert (bent != VALUES).mean() > 0.9
    assert abs(bent.mean() - VALUES.mean()) < 2


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"volume": VALUES[0]}, "volume: expected uint8 (Z, Y, X), found uint8 of shape (64, 70)"),
        ({"blur": -1.0}, "blur: expected 0 or more, found -1"),
        ({"holes": 1.0}, "holes: expected 0 to 1, found 1"),
    ],
)
def test_what_is_impossible_is_refused(given, line):
    with pytest.raises(BadInput) as found:
        spoil(**{"volume": VALUES, **given})
    assert line in str(found.value)
