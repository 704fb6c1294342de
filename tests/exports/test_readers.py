"""Exports read back by the programs that they are for, in an environment of their own."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cellmill.exports.programs import PROGRAMS, Findings
from cellmill.measurement import measure_compartments
from tests.exports.test_geojson import cells

pytestmark = pytest.mark.readers

HERE = Path(__file__).parent
NAMES = ["DAPI", "CD3"]
WRITTEN = ("anndata", "spatialdata")


def findings(case):
    """An image with two kinds of object, one with reduced levels, a volume, one without objects."""
    rng = np.random.default_rng(0)
    labels, mpp = cells(), (0.5, 0.4)
    if case == "large":
        labels = {kind: np.pad(array, ((700, 400), (0, 1200))) for kind, array in labels.items()}
    if case == "volume":
        labels = {"nuclear": np.stack([labels["nuclear"]] * 3)}
        mpp = (1.5, 0.5, 0.4)
    if case == "none":
        labels, mpp = {"nuclear": labels["nuclear"] * 0}, None
    shape = next(iter(labels.values())).shape
    image = rng.integers(0, 1000, (*shape, 2)).astype(np.uint16)
    table = measure_compartments(labels, image, mpp=mpp, channel_names=NAMES)
    return Findings("a", image, NAMES, labels, table, mpp, (0,), {"model": "m 1"})


CASES = ("plain", "large", "volume", "none")


@pytest.fixture(scope="module")
def said(readers, tmp_path_factory):
    """What the programs say of what was written."""
    folder = tmp_path_factory.mktemp("written")
    made = {case: findings(case) for case in CASES}
    for case, found in made.items():
        (folder / case).mkdir()
        for name in WRITTEN:
            program = PROGRAMS[name]
            path = folder / case / f"a.{program.suffix}"
            if program.folder:
                path.mkdir()
                program.write(path, found)
            else:
                with path.open("w+b") as file:
                    program.write(file, found)
        np.savez(folder / case / "truth.npz", image=found.image, **found.labels)
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [str(readers), "-W", "ignore", str(HERE / "read_exports.py"), str(folder)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return made, json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize("case", CASES)
def test_spatialdata_has_the_image_labels_shapes_and_table_in_microns(said, case):
    made, found = said[0][case], said[1][case]["spatialdata"]
    assert found["image"]
    assert found["channels"] == NAMES
    assert found["labels"] == dict.fromkeys(made.labels, True)
    there = sorted(kind for kind, labels in made.labels.items() if labels.any())
    planes = made.image.ndim == 3
    assert found["shapes"] == (dict.fromkeys(there, True) if planes else {})
    assert found["annotates"] == there
    assert found["scale"] == list(made.mpp[-2:] if made.mpp else (1.0, 1.0))
    side = dict(zip("yx", made.image.shape[-3:-1], strict=True))
    for axis, size in zip("yx", found["scale"], strict=True):
        assert found["extent"][axis] == pytest.approx([0, side[axis] * size])
    assert (len(found["levels"]) > 1) == (case == "large")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("form", WRITTEN)
def test_the_table_is_that_of_measurements(said, case, form):
    made, found = said[0][case], said[1][case][form]
    found = found["table"] if form == "spatialdata" else found
    if form == "spatialdata" and not len(made.table):
        assert found is None
        return
    table = made.table.to_pydict()
    kinds = zip(table["compartment"], table["label"], strict=True)
    assert found["names"] == [f"{kind} {label}" for kind, label in kinds]
    assert found["channels"] == NAMES
    rows = range(len(made.table))
    for what in ("mean", "sd"):
        wanted = [[table[f"{what}_{name}"][row] for name in NAMES] for row in rows]
        assert found["means" if what == "mean" else what] == wanted
    assert found["areas"] == table["area_px" if "area_px" in table else "volume_px"]
    assert found["edge"] == table["touches_edge"]
    assert found["cells"] == table.get("cell_label")
    assert found["model"] == "m 1"
    assert found["unit"] == ("micrometer" if made.mpp else "pixel")
    for row in rows:
        for place, axis in enumerate("xyz"[: made.image.ndim - 1]):
            size = made.mpp[::-1][place] if made.mpp else 1.0
            at = (table[f"centroid_{axis}_px"][row] + 0.5) * size
            assert found["spatial"][row][place] == pytest.approx(at)
