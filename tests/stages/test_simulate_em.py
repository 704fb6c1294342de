"""Two synthetic volumes, and what is refused."""

import numpy as np
import pytest

from cellmill.contract.cli import main
from cellmill.style_transfer.volumes import open_volume


def run(folder, **parameters):
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in parameters.items()]
    places = ["--volumes", f"{folder}/em", "--record", f"{folder}/record"]
    return main(["simulate_em", *places, *flags])


def test_volumes_and_their_membranes_follow_from_the_seed(tmp_path):
    assert run(tmp_path / "a", shape="4,96,100") == 0
    assert run(tmp_path / "b", shape="4,96,100") == 0
    assert run(tmp_path / "c", shape="4,96,100", seed=1) == 0
    found = {}
    for name in ("x", "y", "x-membranes", "y-membranes"):
        first, again, other = (
            open_volume(f"{tmp_path}/{folder}/em/{name}.zarr") for folder in "abc"
        )
        assert (first.shape, first.voxel_nm) == ((4, 96, 100), (8, 8, 8))
        np.testing.assert_array_equal(first[...], again[...])
        assert (first[...] != other[...]).any()
        found[name] = first[...]
    for name in "xy":
        membranes = found[f"{name}-membranes"] > 0
        # Membranes are dark, in either look.
        assert found[name][membranes].mean() < found[name][~membranes].mean()
    assert found["x"].mean() < found["y"].mean()


@pytest.mark.parametrize("shape", ["4,96", "4,96,a", "4,96,90", ""])
def test_a_shape_that_is_none_is_one_line(tmp_path, capsys, shape):
    assert run(tmp_path, shape=shape) == 2
    assert "shape: expected z,y,x of at least 4,96,96 voxels" in capsys.readouterr().err
