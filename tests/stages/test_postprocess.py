"""The postprocess stage: which compartment, whose parameters, at which scale, what it says."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from cellmill.arrays.batch import Batch, BatchWriter
from cellmill.contract import Dataset, Record
from cellmill.errors import BadInput
from cellmill.models.card import known_cards
from cellmill.preprocessing import resize_labels
from cellmill.segmentation import canonical_labels, segment
from cellmill.stages.postprocess import postprocess
from tests.segmentation.maps import card_heads

MESMER = known_cards()["Mesmer"]
NUCLEAR = known_cards()["NuclearSegmentation"]
SHAPE = (80, 90)
UNSCALED = {"source_shape": [*SHAPE], "source_mpp": [0.5, 0.5]}


def write_predictions(folder, images, card=MESMER, mpp=(0.5, 0.5), **attributes):
    given = {"model": card.to_dict()} if card else {}
    with BatchWriter(folder, attributes=given) as out:
        for name, arrays in images.items():
            out.write(
                name,
                arrays,
                axes=dict.fromkeys(arrays, "YXC"),
                mpp=mpp,
                mpp_source="test",
                channels=("nuclear", "membrane"),
                attributes=attributes,
            )


def run(tmp_path, **parameters):
    record = Record(tmp_path / "record.json")
    labels = Dataset(tmp_path / "labels")
    postprocess(Dataset(tmp_path / "predictions"), labels, record, **parameters)
    return Batch.open(labels.path), record, labels


@pytest.mark.parametrize(
    ("compartment", "expected"),
    [
        ("", ("whole_cell",)),
        ("whole-cell", ("whole_cell",)),
        ("nuclear", ("nuclear",)),
        ("both", ("whole_cell", "nuclear")),
    ],
)
def test_labels_are_the_sciences_and_the_rest_travels_on(tmp_path, compartment, expected):
    images = {"a": card_heads(MESMER), "b c": card_heads(MESMER, seed=2)}
    write_predictions(tmp_path / "predictions", images, source="file:///a.tif", **UNSCALED)
    batch, record, labels = run(tmp_path, compartment=compartment)
    assert batch.attributes["model"] == MESMER.to_dict()
    totals = dict.fromkeys(expected, 0)
    for entry in batch.entries:
        assert tuple(sorted(entry.arrays)) == tuple(sorted(expected))
        assert entry.mpp == (0.5, 0.5)
        assert entry.mpp_source == "test"
        assert entry.attributes["source"] == "file:///a.tif"
        for name in expected:
            found = batch.read(entry, name)
            assert found.dtype == np.int32
            assert entry.arrays[name].axes == "YX"
            assert np.array_equal(found, segment(images[entry.name], MESMER.postprocessing[name]))
            assert entry.attributes["objects"][name] == found.max() > 5
            assert entry.attributes["vanished"][name] == 0
            totals[name] += int(found.max())
    assert record.notes["objects"] == totals
    assert labels.metadata == {f"{name}_objects": count for name, count in totals.items()}


@pytest.mark.parametrize("compartment", ["nuclear", "both"])
@pytest.mark.parametrize("source_shape", [(133, 171), (40, 61), (80, 200)])
def test_labels_come_back_at_the_image_s_own_scale(tmp_path, compartment, source_shape):
    attributes = {"source_shape": [*source_shape], "source_mpp": [0.3, 0.25]}
    given = card_heads(MESMER)
    write_predictions(tmp_path / "predictions", {"a": given}, mpp=(0.5, 0.48), **attributes)
    batch, _, _ = run(tmp_path, compartment=compartment)
    entry = batch.entries[0]
    assert entry.mpp == (0.3, 0.25)
    names = ("whole_cell", "nuclear") if compartment == "both" else ("nuclear",)
    small = np.stack([segment(given, MESMER.postprocessing[name]) for name in names], axis=-1)
    resized = resize_labels(small, source_shape)
    for i, name in enumerate(names):
        found = batch.read(entry, name)
        assert found.shape == source_shape
        assert np.array_equal(found, canonical_labels(resized[..., i]))
        assert np.array_equal(canonical_labels(found), found)


def test_objects_that_vanish_in_downsizing_are_counted_and_told(tmp_path, capsys):
    attributes = {"source_shape": [8, 9], "source_mpp": [5.0, 5.0]}
    given = card_heads(MESMER)
    write_predictions(tmp_path / "predictions", {"a": given}, **attributes)
    batch, record, _ = run(tmp_path, compartment="nuclear", small_objects_threshold=0)
    kept = batch.read(batch.entries[0], "nuclear")
    card = dataclasses.replace(MESMER.postprocessing["nuclear"], small_objects_threshold=0)
    lost = segment(given, card).max() - kept.max()
    assert lost > 0
    assert kept.max() == len(np.unique(kept[kept > 0]))
    assert batch.entries[0].attributes["vanished"] == {"nuclear": lost}
    assert record.notes["vanished"] == {"a": {"nuclear": lost}}
    told = capsys.readouterr().err
    assert f"objects vanished at the image's own resolution: 'a': {lost} (nuclear)" in told


def test_unknown_pixel_size_is_told_with_the_median_diameter(tmp_path, capsys):
    attributes = {"source_shape": [*SHAPE], "source_mpp": None}
    write_predictions(tmp_path / "predictions", {"a": card_heads(MESMER)}, mpp=None, **attributes)
    batch, record, _ = run(tmp_path, compartment="nuclear")
    areas = np.bincount(batch.read(batch.entries[0], "nuclear").ravel())[1:]
    diameter = round(float(np.median(2 * np.sqrt(areas / np.pi))), 2)
    assert batch.entries[0].mpp is None
    assert batch.entries[0].attributes["median_diameter_px"] == {"nuclear": diameter}
    assert record.notes["median_diameter_px_where_mpp_unknown"] == {"a": {"nuclear": diameter}}
    told = capsys.readouterr().err
    assert told.startswith("warning: pixel size unknown (the model expects 0.5 µm/px)")
    assert told.endswith(f"median diameter in px: 'a': {diameter:g} (nuclear)\n")


def test_a_warning_names_a_few_of_many(tmp_path, capsys):
    images = {f"{k}": card_heads(MESMER, (20, 20)) for k in range(8)}
    write_predictions(tmp_path / "predictions", images, mpp=None)
    run(tmp_path)
    told = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(told) == 1
    assert told[0].endswith("and 3 more images")


def test_nothing_is_told_where_the_pixel_size_is_known(tmp_path, capsys):
    write_predictions(tmp_path / "predictions", {"a": card_heads(MESMER)}, **UNSCALED)
    _, record, _ = run(tmp_path)
    assert capsys.readouterr().err == ""
    assert record.notes["median_diameter_px_where_mpp_unknown"] == {}


OVERRIDES = {
    "radius": 4,
    "maxima_threshold": 0.3,
    "interior_threshold": 0.0,
    "maxima_smooth": 1.5,
    "interior_smooth": 0.0,
    "small_objects_threshold": 0,
    "small_objects_fraction": 0.75,
    "fill_holes_threshold": 0,
    "pixel_expansion": 2,
    "maxima_algorithm": "peak_local_max",
}


@pytest.mark.parametrize("name", OVERRIDES)
def test_a_parameter_takes_the_card_s_place(tmp_path, name):
    given = card_heads(MESMER)
    write_predictions(tmp_path / "predictions", {"a": given}, **UNSCALED)
    batch, record, _ = run(tmp_path, **{name: OVERRIDES[name]})
    changed = dataclasses.replace(MESMER.postprocessing["whole_cell"], **{name: OVERRIDES[name]})
    assert np.array_equal(batch.read(batch.entries[0], "whole_cell"), segment(given, changed))
    noted = record.notes["watershed"]["whole_cell"]
    card = dataclasses.asdict(MESMER.postprocessing["whole_cell"])
    for key in OVERRIDES:
        assert noted[key] == (OVERRIDES[key] if key == name else card[key])


def test_erosion_border_and_the_reference_s_ids(tmp_path):
    given, chosen = (
        card_heads(MESMER, seed=2),
        {"label_erosion": 1, "exclude_border": 6}
        | {"numbering": "reference", "tie_rule": "reference"},
    )
    write_predictions(tmp_path / "predictions", {"a": given}, **UNSCALED)
    batch, record, _ = run(tmp_path, maxima_algorithm="peak_local_max", **chosen)
    card = MESMER.postprocessing["whole_cell"]
    changed = dataclasses.replace(card, maxima_algorithm="peak_local_max")
    found = batch.read(batch.entries[0], "whole_cell")
    assert np.array_equal(found, segment(given, changed, **chosen))
    assert not np.array_equal(found, canonical_labels(found))
    assert record.notes["numbering"] == "reference"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"radius": 0}, "radius: expected at least 1, found 0"),
        ({"radius": -2}, "radius: expected 0 or more, or -1 for the card's, found -2"),
        ({"interior_threshold": -0.5}, "interior_threshold: expected 0 or more"),
        ({"maxima_threshold": 0.0}, "maxima_threshold: expected more than 0"),
        ({"label_erosion": -1}, "label_erosion: expected a whole number"),
        ({"compartment": "both"}, "compartment: expected what model 'NuclearSeg.*: nuclear"),
        ({"compartment": "whole-cell"}, "found 'whole-cell'"),
    ],
)
def test_bad_parameters_fail_at_once_even_where_bad_images_are_skipped(
    tmp_path, parameters, message
):
    write_predictions(tmp_path / "predictions", {"a": card_heads(MESMER)}, NUCLEAR, **UNSCALED)
    with pytest.raises(BadInput, match=message):
        run(tmp_path, on_bad_image="skip", **parameters)
    assert not (tmp_path / "labels").exists()


def test_predictions_without_a_card_are_refused(tmp_path):
    write_predictions(tmp_path / "predictions", {"a": card_heads(MESMER)}, None, **UNSCALED)
    with pytest.raises(BadInput, match="expected a model's card in the manifest"):
        run(tmp_path)


def broken(change):
    given = card_heads(MESMER)
    name = MESMER.postprocessing["whole_cell"].maxima_head
    if change == "missing":
        del given[name]
    else:
        given[name][3, 4:6] = np.nan
    return given


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "image 'bad', predictions: expected a head '"),
        ("nan", "image 'bad', head '.*', channel 0: expected finite pixel values, found 2 NaN"),
    ],
)
def test_a_bad_image_fails_or_is_skipped(tmp_path, change, message):
    images = {"bad": broken(change), "good": card_heads(MESMER)}
    write_predictions(tmp_path / "predictions", images, **UNSCALED)
    with pytest.raises(BadInput, match=message):
        run(tmp_path)
    batch, _, _ = run(tmp_path, on_bad_image="skip")
    assert [entry.status for entry in batch.entries] == ["skipped", "ok"]
    assert not batch.entries[0].arrays


@pytest.mark.parametrize("shape", [SHAPE, (1, 1)])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_maps_without_shape_have_no_objects(tmp_path, value, shape):
    flat = {h.name: np.full((*shape, h.channels), value, np.float32) for h in MESMER.heads}
    write_predictions(tmp_path / "predictions", {"a": flat}, **UNSCALED)
    batch, _, labels = run(tmp_path, compartment="both")
    assert labels.metadata == {"whole_cell_objects": 0, "nuclear_objects": 0}
    assert not batch.read(batch.entries[0], "nuclear").any()
    assert batch.entries[0].attributes["median_diameter_px"] == {"whole_cell": 0, "nuclear": 0}


def test_it_runs_by_hand(tmp_path):
    write_predictions(tmp_path / "predictions", {"it's a": card_heads(MESMER)}, **UNSCALED)
    command = [sys.executable, "-m", "cellmill", "postprocess"]
    command += ["--predictions", str(tmp_path / "predictions"), "--labels", str(tmp_path / "out")]
    done = subprocess.run([*command, "--compartment", "nuclear"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Batch.open(tmp_path / "out").entries[0].arrays["nuclear"].shape == SHAPE
    done = subprocess.run([*command, "--radius", "0"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "radius: expected at least 1, found 0" in done.stderr
