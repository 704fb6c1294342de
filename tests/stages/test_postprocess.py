"""The postprocess stage: which compartment, whose parameters, at which scale, what it says."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from cellmill.arrays.batch import Batch
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract import Dataset, Record
from cellmill.errors import BadInput
from cellmill.labels.numbering import canonical_labels
from cellmill.labels.resizing import resize_labels
from cellmill.models.card import known_cards
from cellmill.segmentation.methods import recipes_of, segment
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
    used = {**MESMER.postprocessing}
    used |= {name: recipe.plain() for name, recipe in recipes_of(MESMER, expected).items()}
    assert batch.attributes["model"] == {**MESMER.to_dict(), "postprocessing": used}
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
            assert np.array_equal(found, segment(MESMER, images[entry.name], name)[name])
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
    small = np.stack([*segment(MESMER, given, compartment).values()], axis=-1)
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
    batch, record, _ = run(
        tmp_path, compartment="nuclear", parameters={"small_objects_threshold": 0}
    )
    kept = batch.read(batch.entries[0], "nuclear")
    whole = segment(MESMER, given, "nuclear", parameters={"small_objects_threshold": 0})
    lost = whole["nuclear"].max() - kept.max()
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
    batch, record, _ = run(tmp_path, parameters={name: OVERRIDES[name]})
    recipe = recipes_of(MESMER, ("whole_cell",))["whole_cell"]
    changed = recipe.with_parameters(**{name: OVERRIDES[name]})
    card = dataclasses.replace(MESMER, postprocessing={"whole_cell": changed.plain()})
    found = batch.read(batch.entries[0], "whole_cell")
    assert np.array_equal(found, segment(card, given)["whole_cell"])
    noted = record.notes["segmentation"]["whole_cell"]
    assert noted == {**recipe.plain(), name: OVERRIDES[name]}
    assert noted["method"] == "deep_watershed"


def test_erosion_border_and_the_reference_s_ids(tmp_path):
    given = card_heads(MESMER, seed=2)
    chosen = {"label_erosion": 1, "exclude_border": 6, "tie_rule": "reference"}
    chosen |= {"maxima_algorithm": "peak_local_max"}
    write_predictions(tmp_path / "predictions", {"a": given}, **UNSCALED)
    batch, record, _ = run(tmp_path, parameters=chosen, numbering="reference")
    found = batch.read(batch.entries[0], "whole_cell")
    expected = segment(MESMER, given, parameters=chosen, numbering="reference")["whole_cell"]
    assert np.array_equal(found, expected)
    assert not np.array_equal(found, canonical_labels(found))
    assert record.notes["numbering"] == "reference"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"parameters": {"radius": 0}}, "parameters.radius: expected at least 1, found 0"),
        ({"parameters": {"radius": "2"}}, "parameters.radius: expected a whole number, found '2'"),
        ({"parameters": {"maxima_threshold": 0.0}}, "maxima_threshold: expected more than 0"),
        ({"parameters": {"label_erosion": -1}}, "label_erosion: expected 0 or more"),
        ({"parameters": {"raduis": 2}}, "parameters: expected only .*radius.*, found 'raduis'"),
        ({"parameters": {"interior_head": "x"}}, r"parameters.interior_head: expected one of \["),
        ({"parameters": {"method": "x"}}, "parameters: expected parameters of a method"),
        ({"method": "magic"}, "method: expected one of deep_watershed, .*found 'magic'"),
        ({"compartment": "both"}, "compartment: expected what model 'NuclearSeg.*: nuclear"),
        ({"compartment": "whole-cell"}, "found 'whole-cell'"),
    ],
)
def test_bad_parameters_fail_at_once_even_where_bad_images_are_skipped(
    tmp_path, parameters, message
):
    write_predictions(tmp_path / "predictions", {"a": card_heads(MESMER)}, NUCLEAR, **UNSCALED)
    with pytest.raises(BadInput, match=message) as error:
        run(tmp_path, on_bad_image="skip", **parameters)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "labels").exists()


def test_predictions_without_a_card_are_refused(tmp_path):
    write_predictions(tmp_path / "predictions", {"a": card_heads(MESMER)}, None, **UNSCALED)
    with pytest.raises(BadInput, match="expected a model's card in the manifest"):
        run(tmp_path)


def broken(change):
    given = card_heads(MESMER)
    name = MESMER.postprocessing["whole_cell"]["maxima_head"]
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
    command += ["--parameters", '{"radius": 0}']
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "radius: expected at least 1, found 0" in done.stderr
