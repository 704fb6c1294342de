"""Slides segmented in shards: the labels of the whole, whatever the shards, however often begun."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cellmill.arrays.batch import Batch
from cellmill.arrays.store import Ledger, key_values
from cellmill.arrays.windows import Grid
from cellmill.models.card import ModelCard
from cellmill.segmentation.deep_watershed.tile_markers import smoothed
from cellmill.segmentation.methods import find_method
from cellmill.stages.shared.slides.plan import SlidePlan
from tests.stages.shared.slides import by_hand
from tests.stages.shared.slides.by_hand import in_shards, noted, opened, plan, whole
from tests.stages.shared.slides.conftest import SHAPE

TILED = find_method("deep_watershed").tiled


@pytest.fixture(scope="module")
def expected(slide, model, tmp_path_factory):
    """The slide's nuclei, segmented whole."""
    labels = whole(tmp_path_factory.mktemp("whole"), slide, model)
    return labels.read(labels.entries[0], "nuclear")


def only(labels, key="nuclear"):
    (entry,) = labels.entries
    return labels.read(entry, key)


@pytest.mark.parametrize(("most", "memory_mib", "order"), [(1, 1024, None), (16, 64, 3)])
def test_labels_are_those_of_the_whole_whatever_the_shards_tiles_and_order(
    slide, model, expected, tmp_path, most, memory_mib, order
):
    labels, notes = in_shards(
        tmp_path, slide, model, most_shards=most, memory_mib=memory_mib, order=order
    )
    found = only(labels)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.int32
    assert len(np.unique(found)) == found.max() + 1 == notes["objects"]["nuclear"] + 1 > 100
    assert by_hand.shards_of(tmp_path) == (1 if most == 1 else 3)
    # Which tiles have nothing above the threshold, from the map itself.
    plans = Batch.open(tmp_path / "plan")
    (entry,) = plans.entries
    interior = plans.read(entry, "nuclear_interior")
    grid = Grid(interior.shape, TILED.side_within(memory_mib))
    tiles = notes["tiles"]["slide"]["nuclear"]
    assert tiles["tiles"] == len(grid) == (34 if memory_mib == 64 else 5)

    def blank(margin):
        """Tiles that have nothing to flood within so many pixels around them."""
        boxes = (grid.box(k).grown(margin, grid.shape) for k in range(len(grid)))
        return sum(smoothed(interior, 1.0, box, "").max() <= 0.5 for box in boxes)

    assert blank(64) <= tiles["empty"] <= blank(0) < len(grid)
    assert blank(64) > 0 or memory_mib == 1024
    assert tiles["flooded_again"] >= 0


def test_both_compartments_of_images_that_are_resized_in_a_store_elsewhere(two, model, tmp_path):
    expected = whole(tmp_path / "whole", two, model, compartment="both")
    store = tmp_path / "else where"
    labels, notes = in_shards(
        tmp_path, two, model, memory_mib=64, compartment="both", store=store, order=1
    )
    assert by_hand.shards_of(tmp_path) == 2
    for entry, twin in zip(labels.entries, expected.entries, strict=True):
        for key in ("whole_cell", "nuclear"):
            found = labels.read(entry, key)
            np.testing.assert_array_equal(found, expected.read(twin, key))
            assert entry.mpp == (0.6, 0.6)
            assert notes["tiles"][entry.name][key]["tiles"] >= 1
            # Nothing large travels with the manifests.
            assert entry.arrays[key].store.startswith(f"{store}/")
        assert entry.attributes["vanished"] == twin.attributes["vanished"]
        assert entry.attributes["median_diameter_px"] == twin.attributes["median_diameter_px"]
    for name in ("plan", "segmentation", "labels", "p0", "s0"):
        sizes = [path.stat().st_size for path in (tmp_path / name).rglob("*") if path.is_file()]
        assert sum(sizes) < 100_000


@pytest.fixture(scope="session")
def sized(model, tmp_path_factory):
    """The model with a card that knows its objects' size and prescribes no pixel size."""
    folder = tmp_path_factory.mktemp("sized")
    shutil.copytree(model, folder, dirs_exist_ok=True)
    card = ModelCard.load(model)
    scale = {"object_diameter": {"nuclear": 20.0, "whole_cell": 30.0}, "resampling": "averaged"}
    replace(card, input=replace(card.input, mpp=0.0, **scale)).save(folder)
    return folder


@pytest.mark.parametrize(("diameter", "most"), [("auto", 1), ("auto", 16), ("36", 16)])
def test_a_slide_has_one_diameter_however_it_is_cut_up(slide, sized, tmp_path, diameter, most):
    told = {"diameter": diameter, "compartment": "nuclear"}
    expected = whole(tmp_path / "whole", slide, sized, **told)
    labels, _ = in_shards(tmp_path, slide, sized, memory_mib=64, most_shards=most, order=2, **told)
    np.testing.assert_array_equal(only(labels), only(expected))
    assert only(labels).shape == only(expected).shape == SHAPE
    (entry,), (twin,) = labels.entries, expected.entries
    scaling = entry.attributes["scaling"]
    assert scaling == twin.attributes["scaling"]
    assert scaling["by"] == ("auto" if diameter == "auto" else "diameter")
    assert scaling["network_diameter"] == 20
    scale = 20 / scaling["diameter"]
    assert entry.attributes["scale"] == pytest.approx([scale, scale], abs=1 / SHAPE[0])
    assert entry.mpp == (0.5, 0.5)
    remarks = noted(tmp_path / "plan.json")["remarks"]
    assert [*remarks] == (["slide"] if diameter == "auto" else [])


def test_a_diameter_that_is_none_is_refused(slide, model, sized, tmp_path, capsys):
    assert plan(tmp_path, slide, sized, diameter="wide") == 2
    assert plan(tmp_path, slide, model, diameter="30") == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": expected")[0] for line in lines] == [
        "cellmill plan_slide: diameter"
    ] * 2
    assert not (tmp_path / "plan" / "manifest.json").exists()


def test_a_store_may_be_a_relative_path(two, model, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    in_shards(Path("run"), two, model, store="kept")
    monkeypatch.chdir("/")
    labels = Batch.open(tmp_path / "run" / "labels")
    assert all(labels.read(entry, "nuclear").any() for entry in labels.entries)
    assert {path.name.split("-")[0] for path in (tmp_path / "kept").iterdir()} == {"long", "small"}


def test_an_image_that_cannot_be_planned_is_left_out_and_the_others_are_not(model, tmp_path):
    draw = np.random.default_rng(0)
    tifffile.imwrite(tmp_path / "good.tif", draw.integers(0, 900, (90, 80)).astype(np.uint16))
    bad = np.zeros((90, 80), np.float32)
    bad[5, 7] = np.nan
    tifffile.imwrite(tmp_path / "bad.tif", bad)
    items = [{"image": str(tmp_path / f"{name}.tif")} for name in ("bad", "good")]
    skip = {"on_bad_image": "skip"}
    assert not opened(tmp_path, items, container="zarr", **skip)
    assert by_hand.plan(tmp_path, tmp_path / "images", model) == 2 or _skipped(tmp_path / "images")
    labels, _ = in_shards(tmp_path, tmp_path / "images", model, **skip)
    first, second = labels.entries
    assert (first.name, first.status, second.status) == ("bad", "skipped", "ok")
    assert "finite" in first.error or "NaN" in first.error
    assert labels.read(second, "nuclear").shape == (90, 80)


def _skipped(folder):
    return not Batch.open(folder).entries[0].ok


@pytest.fixture
def done(slide, model, tmp_path):
    """A slide that is segmented in three shards."""
    in_shards(tmp_path, slide, model, memory_mib=64)
    return tmp_path


def plan_of(folder):
    entry = Batch.open(folder / "plan").entries[0]
    return SlidePlan.of(entry.attributes, entry.name)


def forget(uri, share, of=b""):
    """Take away every so many-th mark, with a text in its name, as a kill leaves it."""
    store = key_values(uri)
    keys = sorted(key for key in store.list().result() if of in key)
    for key in keys[::share]:
        store.write(key, None).result()
    return [key.decode() for key in keys[::share]]


def test_a_shard_that_was_cut_off_is_gone_on_with_where_it_was(slide, model, expected, done):
    made = plan_of(done)
    tiles = [tiles_predicted(path) for path in by_hand.predicted(done, slide, model)]
    assert tiles == [0, 0, 0]
    lost = forget(f"{made.store}/predicted", 2)
    assert lost
    again = [tiles_predicted(path) for path in by_hand.predicted(done, slide, model)]
    assert 0 < sum(again) < 3 * max(again) + 1
    assert [bool(count) for count in again] == [
        any(int(name.rsplit("/", 1)[1].split("-")[2]) // 2048 == k for name in lost)
        for k in range(3)
    ]
    # Floods that are lost are made again, and only they: nothing else is written.
    flooded = f"{made.store}/segmentation/nuclear/marks"
    lost = forget(flooded, 3, b"tile-")
    before = marks(flooded)
    by_hand.segmented(done, memory_mib=64)
    after = marks(flooded)
    assert set(after) - set(before) == set(lost)
    assert {name: after[name] for name in before} == before
    assert not by_hand.stitched(done, memory_mib=64)
    np.testing.assert_array_equal(only(Batch.open(done / "labels")), expected)


def tiles_predicted(folder):
    return Batch.open(folder).entries[0].attributes["tiles"]


def marks(uri):
    """What is kept under a place, and since when."""
    folder = Path(uri)
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_predictions_of_another_plan_or_precision_are_not_taken_for_ones_own(two, model, tmp_path):
    """One store, used for one thing, then another, then the first again."""
    store = {"store": tmp_path / "store"}
    first, _ = in_shards(tmp_path / "a", two, model, **store)
    expected = [first.read(entry, "nuclear") for entry in first.entries]
    in_shards(tmp_path / "b", two, model, compartment="whole-cell", **store)
    again, _ = in_shards(tmp_path / "c", two, model, **store)
    for entry, labels in zip(again.entries, expected, strict=True):
        np.testing.assert_array_equal(again.read(entry, "nuclear"), labels)
    # Planned for something else, but nothing came of it.
    assert not by_hand.plan(tmp_path / "b", two, model, compartment="both", **store)
    again, _ = in_shards(tmp_path / "c", two, model, **store)
    for entry, labels in zip(again.entries, expected, strict=True):
        np.testing.assert_array_equal(again.read(entry, "nuclear"), labels)
    # The same plan: what is predicted counts, but not in another precision.
    folder = tmp_path / "c"
    assert all(tiles_predicted(path) == 0 for path in by_hand.predicted(folder, two, model))
    other = by_hand.predicted(folder, two, model, precision="mixed_bfloat16")
    assert tiles_predicted(other[0]) > 0
    back = by_hand.predicted(folder, two, model)
    assert tiles_predicted(back[0]) > 0


@pytest.fixture(scope="module")
def run_of_two(two, model, tmp_path_factory):
    """Two slides that are segmented."""
    folder = tmp_path_factory.mktemp("run of two")
    in_shards(folder, two, model)
    return folder


@pytest.mark.parametrize("what", ["no plan", "other slides", "no segmentation", "statistics"])
def test_what_is_no_plan_or_damaged_is_one_line(two, model, run_of_two, capsys, what):
    folder = run_of_two
    shard = {"shard": 0, "segmented": folder / "odd", "record": folder / "odd.json"}
    damaged = {
        "other slides": folder / "p0" / "manifest.json",
        "statistics": min(Path(plan_of(folder).store, "segmentation").rglob("statistics")),
    }.get(what)
    kept = damaged.read_bytes() if damaged else b""
    if damaged:
        other = kept.replace(b'"long"', b'"other"')
        damaged.write_bytes(other if what == "other slides" else kept[:-30])
    if what == "no plan":
        places = {"predicted": folder / "odd", "record": folder / "odd.json", "shard": 0}
        code = by_hand.run("predict_shard", plan=two, images=two, model=model, **places)
    elif what == "other slides":
        code = by_hand.settled(folder)
    else:
        given = folder / ("plan" if what == "no segmentation" else "segmentation")
        code = by_hand.run("segment_shard", segmentation=given, **shard)
    if damaged:
        damaged.write_bytes(kept)
    assert code == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("cellmill")]
    assert "expected" in line


def test_marks_of_other_work_are_removed_when_work_begins(tmp_path):
    uri = str(tmp_path / "marks")
    for name in ("a", "b"):
        Ledger(uri, name).mark("part")
    Ledger(uri, "b").claim()
    assert Ledger(uri, "a").done() == set()
    assert Ledger(uri, "b").done() == {"part"}
