"""Deconvolution by many tasks: the same bits however it is shared, and the whole's image."""

import random

import numpy as np
import pytest

from cellmill.arrays.batch import Batch
from cellmill.contract import DeconvolvedShard, Images, PlannedDeconvolution, Record
from cellmill.errors import BadInput
from cellmill.restoration import blocks
from cellmill.stages.deconvolve import deconvolve
from cellmill.stages.deconvolve_shard import deconvolve_shard
from cellmill.stages.plan_deconvolution import plan_deconvolution
from cellmill.typed_json import read_object
from tests.stages.restoration import WATER, made_psf, read, write_images
from tests.stages.shared.slides.by_hand import run

GIVEN = {"iterations": 3, "offset": 10.0}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Blocks so small that a test has many."""
    monkeypatch.setattr(blocks, "SIDES", {2: 24, 3: 24})


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    folder = tmp_path_factory.mktemp("field")
    volume = np.random.default_rng(0).poisson(50, (9, 40, 50, 2)).astype(np.uint16)
    images = write_images(folder / "images", {"a": volume}, channels=("blue", "red"))
    given = {**WATER, "emission_nm": "450,600", "voxel_um": "0.3,0.15,0.15", "shape": "3,5,7"}
    psf, _ = made_psf(folder, **given)
    return images, psf


def planned(folder, field, **given):
    folder.mkdir(parents=True, exist_ok=True)
    plan = PlannedDeconvolution(folder / "plan")
    settings = {**GIVEN, "store": str(folder / "store"), **given}
    return plan, plan_deconvolution(*field, plan, Record(folder / "plan.json"), **settings).shards


def by_tasks(folder, field, seed=0, dtype="float32", **given):
    plan, shards = planned(folder, field, **given)
    for shard in random.Random(seed).sample(shards, len(shards)):
        places = {"deconvolved": folder / f"d{shard}", "record": folder / f"d{shard}.json"}
        made = {"plan": plan.path, "images": field[0].path, "shard": shard}
        assert not run("deconvolve_shard", **made, **places)
    assert not run(
        "gather_deconvolved",
        plan=plan.path,
        images=field[0].path,
        deconvolved=[folder / f"d{k}" for k in shards],
        shard_records=[folder / f"d{k}.json" for k in shards],
        restored=folder / "restored",
        shard_record=folder / "shards.json",
        record=folder / "record.json",
        dtype=dtype,
    )
    return Images(folder / "restored"), read_object(folder / "record.json", "record"), shards


def whole(folder, field, **given):
    folder.mkdir(parents=True, exist_ok=True)
    restored, record = Images(folder / "restored"), Record(folder / "record.json")
    deconvolve(*field, restored, record, **GIVEN, **given)
    return restored, record


def test_tasks_make_the_whole_images(field, tmp_path):
    expected, of_whole = whole(tmp_path / "whole", field)
    restored, record, shards = by_tasks(tmp_path / "tasks", field, most_shards=4)
    assert shards == [0, 1, 2, 3]
    assert read(restored).shape == read(expected).shape
    assert np.abs(read(restored) - read(expected)).max() <= 1e-3 * read(expected).max()
    (mine,), (its,) = (Batch.open(each.path).entries for each in (restored, expected))
    assert (mine.channels, mine.mpp) == (its.channels, its.mpp)
    assert mine.attributes["restored"] == its.attributes["restored"]
    for name, note in of_whole.notes["restoration"]["a"]["channels"].items():
        found = record["notes"]["restoration"]["a"]["channels"][name]
        assert found["psf"]["psf"] == note["psf"]["psf"]
        assert found["background"] == pytest.approx(note["background"])
        assert found["divergence"] == pytest.approx(note["divergence"], rel=1e-3)


def test_shards_and_order_change_no_bit(field, tmp_path):
    few, _, _ = by_tasks(tmp_path / "few", field, most_shards=1)
    many, _, shards = by_tasks(tmp_path / "many", field, seed=1, most_shards=5)
    assert len(shards) == 5
    assert np.array_equal(read(few), read(many))


def test_total_variation_is_that_of_the_whole(field, tmp_path):
    given = {"total_variation": 2e-3}
    expected, _ = whole(tmp_path / "whole", field, **given)
    few, _, _ = by_tasks(tmp_path / "few", field, most_shards=1, **given)
    many, _, _ = by_tasks(tmp_path / "many", field, seed=1, most_shards=5, **given)
    assert np.array_equal(read(few), read(many))
    assert np.abs(read(few) - read(expected)).max() <= 2e-3 * read(expected).max()
    (mine,), (its,) = (Batch.open(each.path).entries for each in (few, expected))
    assert mine.attributes["restored"] == its.attributes["restored"]


def test_acceleration_and_consensus_are_those_of_the_whole(field, tmp_path):
    given = {"accelerate": True, "consensus": True, "gain": 1.0}
    expected, of_whole = whole(tmp_path / "whole", field, **given)
    few, record, _ = by_tasks(tmp_path / "few", field, most_shards=1, **given)
    many, _, _ = by_tasks(tmp_path / "many", field, seed=1, most_shards=5, **given)
    assert np.array_equal(read(few), read(many))
    # Some voxels, next to the edge most, go on in one and not in the other.
    difference = np.abs(read(few) - read(expected))
    assert np.quantile(difference, 0.9) <= 1e-3 * read(expected).max()
    (mine,), (its,) = (Batch.open(each.path).entries for each in (few, expected))
    assert mine.attributes["restored"] == its.attributes["restored"]
    for name, note in of_whole.notes["restoration"]["a"]["channels"].items():
        found = record["notes"]["restoration"]["a"]["channels"][name]
        assert found["gain"] == note["gain"] == 1
        assert found["agreed"] == pytest.approx(note["agreed"], abs=0.02)
        assert min(found["agreed"]) < 1


def test_what_is_done_is_gone_on_with(field, tmp_path):
    first, _, _ = by_tasks(tmp_path, field)
    expected = read(first)
    plan, shards = planned(tmp_path, field)
    record = Record(tmp_path / "again.json")
    deconvolve_shard(plan, field[0], DeconvolvedShard(tmp_path / "again"), record, shards[0])
    assert Batch.open(tmp_path / "again").entries[0].attributes["blocks"] == 0
    again, _, _ = by_tasks(tmp_path, field)
    assert np.array_equal(read(again), expected)


def test_integers_are_the_floats_scaled(field, tmp_path):
    floats, _, _ = by_tasks(tmp_path / "float", field)
    integers, _, _ = by_tasks(tmp_path / "int", field, dtype="uint16")
    scale = Batch.open(integers.path).entries[0].attributes["intensity_scale"]
    assert np.abs(read(integers) * np.array(scale) - read(floats)).max() <= max(scale)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"most_shards": 0}, "most_shards: expected at least 1"),
        ({"iterations": -1}, "iterations: expected 0 or more"),
        ({"total_variation": 1.0}, "total_variation: expected below"),
        ({"gain": -1.0}, "gain: expected grey levels a photon"),
        ({"background": "1,2,3"}, "background: expected one level, or one for each of 2"),
        ({"memory_mib": 1}, "memory_mib: expected 64 MiB or more"),
    ],
)
def test_impossible_settings_are_one_line(field, tmp_path, given, line):
    with pytest.raises(BadInput, match=line):
        planned(tmp_path, field, **given)
    assert not (tmp_path / "plan" / "manifest.json").exists()
