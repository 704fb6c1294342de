"""The page on a restoration: figures against the truth, pictures, what is left out, one line."""

import json
import re

import numpy as np
import pytest

from cellmill.arrays.batch import Batch
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract import Images, Labels, Metrics, Record, Reports
from cellmill.contract.recording import to_json
from cellmill.errors import BadInput
from cellmill.restoration.assessment import root_mean_square_error
from cellmill.stages.deconvolve import deconvolve
from cellmill.stages.report_restoration import report_restoration
from tests.stages.restoration import VOXEL, made_psf, read, simulated, write_images

COUNTED = ("true", "found", "matched", "missed", "false", "mean IoU")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A restored volume, its truth, and a record as the runtime writes it."""
    folder = tmp_path_factory.mktemp("restored")
    psf, _ = made_psf(folder)
    images, objects, truth = simulated(folder, psf)
    restored, record = Images(folder / "restored"), Record(folder / "deconvolve.json")
    deconvolve(images, psf, restored, record, iterations=8, offset=100)
    document = record.document(stage="deconvolve", parameters={}, inputs={}, outputs={})
    record.path.write_text(to_json(document))
    return {"images": images, "restored": restored, "psf": psf, "restoration_record": record}, {
        "objects": objects,
        "truth": truth,
    }


def labels_of(folder, volume, name="spheres"):
    with BatchWriter(folder) as out:
        out.write(name, {"nuclear": volume}, axes={"nuclear": "ZYX"}, mpp=VOXEL)
    return Labels(folder)


def run(folder, made, **more):
    pages, numbers = Reports(folder / "pages"), Metrics(folder / "numbers.json")
    report_restoration(
        **made, pages=pages, numbers=numbers, record=Record(folder / "record.json"), **more
    )
    (entry,) = Batch.open(pages.path).entries
    document = json.loads(numbers.path.read_text())["images"][0]
    page = (pages.path / entry.files["html"]).read_text()
    return page, next(iter(document["channels"].values())), numbers


def test_errors_and_counts_are_those_of_the_arrays(made, tmp_path):
    given, known = made
    true = read(known["truth"], key="labels")
    half = np.where(true == 1, 0, true).astype(np.int32)
    half[0, 0, 0] = 99
    more = {
        "labels": labels_of(tmp_path / "labels", true),
        "labels_before": labels_of(tmp_path / "before", half),
    }
    page, found, numbers = run(tmp_path, given, **known, **more)
    count = len(np.unique(true)) - 1
    assert found["objects"]["restored"] == {
        "found": count,
        "true": count,
        "matched": count,
        "mean_iou": 1.0,
    }
    before = found["objects"]["as acquired"]
    assert (before["found"], before["matched"]) == (count, count - 1)
    note = found["background"] + 100
    acquired = read(given["images"])[..., 0] - np.float32(note)
    truth = read(known["objects"])[..., 0]
    assert found["rmse"]["as acquired"] == pytest.approx(root_mean_square_error(acquired, truth))
    assert found["rmse"]["restored"] < found["rmse"]["as acquired"]
    assert numbers.metadata["matched_after"] == count
    for words in ("Against the truth", "Power spectrum along z", "Likelihood", "true objects"):
        assert words in page
    assert "http" not in page.replace("http-equiv", "")


def test_without_truth_there_are_cuts_spectra_and_no_errors(made, tmp_path):
    page, found, numbers = run(tmp_path, made[0])
    assert found["rmse"] == {}
    assert found["objects"] == {}
    assert numbers.metadata == {}
    assert page.count("<figcaption>as acquired") == 3
    assert "Against the truth" not in page
    assert "Point spread function" in page


def test_a_table_has_the_columns_of_which_something_is_known(made, tmp_path):
    given, known = made
    true = read(known["truth"], key="labels")
    labels = labels_of(tmp_path / "labels", true)
    for name, more, columns in (
        ("alone", {}, []),
        ("two", {"labels_before": labels}, ["found"]),
        ("counted", {"truth": known["truth"]}, [*COUNTED]),
        ("erred", {"objects": known["objects"]}, ["RMSE", "found"]),
    ):
        page, _, _ = run(tmp_path / name, given, labels=labels, **more)
        assert re.findall(r'<th scope="col">([^<]+)</th>', page) == columns
        assert ("RMSE is" in page) == ("RMSE" in columns)
        assert ("An object matches" in page) == ("matched" in columns)


def test_integers_count_with_their_scale(made, tmp_path):
    given, known = made
    stored = Images(tmp_path / "stored")
    settings = {"iterations": 8, "offset": 100, "dtype": "uint16"}
    deconvolve(given["images"], given["psf"], stored, Record(tmp_path / "r.json"), **settings)
    _, floats, _ = run(tmp_path / "a", given, **known)
    _, integers, _ = run(tmp_path / "b", {**given, "restored": stored}, **known)
    errors = [each["rmse"]["restored"] for each in (floats, integers)]
    assert errors[1] == pytest.approx(errors[0], rel=1e-3)


def test_a_plane_has_one_cut(made, tmp_path):
    image = np.random.default_rng(0).poisson(50, (40, 44, 1)).astype(np.uint16)
    images = write_images(tmp_path / "images", {"a": image})
    restored = write_images(tmp_path / "restored", {"a": image.astype(np.float32)})
    record = tmp_path / "record-of.json"
    record.write_text('{"notes": {}}')
    given = {**made[0], "images": images, "restored": restored}
    page, found, _ = run(tmp_path, {**given, "restoration_record": Record(record)})
    assert page.count("<figcaption>as acquired") == 1
    assert found["noise_left"] is None


def test_other_shapes_are_one_line(made, tmp_path):
    other = write_images(tmp_path / "other", {"spheres": np.ones((3, 9, 9, 1), np.float32)})
    with pytest.raises(BadInput, match="image 'spheres', true objects: expected shape"):
        run(tmp_path, made[0], objects=other)
    assert not (tmp_path / "pages" / "manifest.json").exists()
