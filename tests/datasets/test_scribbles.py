"""Scribbles that are made of a truth are a part of its pixels, each of its class."""

import numpy as np
import pytest

from cellmill.datasets.scribbles import main, scribbles_of
from cellmill.errors import BadInput


def test_scribbles_are_a_part_of_the_truths_pixels():
    truth = np.kron(np.array([[0, 3], [7, 0]]), np.ones((100, 100), int))
    made = scribbles_of(truth, 0.05, seed=1)
    assert made.dtype == np.uint8
    assert (made > 0).mean() == pytest.approx(0.05, rel=0.1)
    assert (made[truth == 0] != 2).all()
    assert (made[truth > 0] != 1).all()
    assert np.array_equal(made, scribbles_of(truth, 0.05, seed=1))
    assert not np.array_equal(made, scribbles_of(truth, 0.05, seed=2))
    assert np.array_equal(scribbles_of(truth, 1) == 2, truth > 0)


@pytest.mark.parametrize("part", [0, -1, 1.5, float("nan")])
def test_a_part_that_is_none_is_refused(part, tmp_path, capsys):
    with pytest.raises(BadInput, match="more than 0"):
        scribbles_of(np.ones((2, 2)), part)
    assert main(["--output", str(tmp_path), "--part", str(part)]) == 2
    assert capsys.readouterr().err.startswith("cellmill: part")
