"""A slide's store that lost files: who reads it refuses in one line, and a rerun mends it."""

import random
from pathlib import Path

import numpy as np
import pytest
import tifffile

from bench.mosaic import Mosaic
from cellmill.arrays.batch import Batch
from tests.stages.shared.slides import by_hand
from tests.stages.shared.slides.conftest import SHAPE

#: So small that a slide has many tiles.
MEMORY = {"memory_mib": 64}


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    """A slide that is segmented in three shards, all of its arrays in one store; its labels."""
    folder = tmp_path_factory.mktemp("run")
    tifffile.imwrite(folder / "slide.tif", Mosaic(SHAPE, empty=0.5)[: SHAPE[0], : SHAPE[1]])
    read(folder)
    labels, _ = by_hand.in_shards(
        folder, folder / "images", model, store=folder / "store", **MEMORY
    )
    return folder, labels.read(labels.entries[0], "nuclear")


def read(folder):
    items = [{"image": str(folder / "slide.tif")}]
    options = {"mpp": 0.5, "container": "zarr", "store": folder / "store"}
    assert not by_hand.opened(folder, items, **options)


def segmented(folder, model):
    labels, _ = by_hand.in_shards(
        folder, folder / "images", model, store=folder / "store", **MEMORY
    )
    return labels.read(labels.entries[0], "nuclear")


def shards(folder, key):
    """The files of one array of the store."""
    (array,) = (folder / "store").rglob(f"*.zarr/{key}/0")
    return array, sorted(p for p in (array / "c").rglob("*") if p.is_file())


def lose(folder, key, how, seed):
    """Take one file of an array away, or a part of it; say which."""
    array, files = shards(folder, key)
    chosen = random.Random(f"{key} {how} {seed}").choice(files)
    content = chosen.read_bytes()
    if how == "removed":
        chosen.unlink()
    elif how == "cut off":
        chosen.write_bytes(content[: len(content) // 3])
    elif how == "zeros":
        # What a disk without power leaves of a file that was not written out.
        chosen.write_bytes(bytes(len(content)))
    else:
        chosen.write_bytes(content + content[:100])
    return str(array), chosen.relative_to(array).as_posix()


READERS = {
    "image": ("plan_slide", "predict_shard", "measure"),
    "nuclear_maxima": ("plan_segmentation", "segment_shard", "stitch"),
    "nuclear_interior": ("segment_shard", "stitch"),
    "nuclear": ("measure", "export_labels"),
}


def refusal(folder, model, stage, capsys):
    """The line that a stage ends with."""
    odd = folder / "odd"
    images = {"images": folder / "images", "model": model}
    given = {
        "plan_slide": {**images, "plan": odd},
        "predict_shard": {**images, "plan": folder / "plan", "predicted": odd, "shard": 0},
        "plan_segmentation": {
            "plan": folder / "plan",
            "predicted": [folder / f"p{k}" for k in range(3)],
            "predict_records": [folder / f"p{k}.json" for k in range(3)],
            "segmentation": odd,
            "predict_record": folder / "odd.json",
        },
        "segment_shard": {"segmentation": folder / "segmentation", "segmented": odd, "shard": 0},
        "stitch": {
            "segmentation": folder / "segmentation",
            "segmented": [folder / f"s{k}" for k in range(3)],
            "segment_records": [folder / f"s{k}.json" for k in range(3)],
            "labels": odd,
            "segment_record": folder / "odd.json",
        },
        "measure": {
            "images": folder / "images",
            "labels": folder / "labels",
            "measurements": odd,
        },
        "export_labels": {"labels": folder / "labels", "label_images": odd},
    }[stage]
    capsys.readouterr()
    assert by_hand.run(stage, **given) == 2
    assert not odd.exists()
    said = capsys.readouterr().err.splitlines()
    (line,) = [line for line in said if line.startswith("cellmill")]
    return line


@pytest.mark.parametrize(
    ("key", "how"),
    [
        ("image", "removed"),
        ("image", "cut off"),
        ("nuclear_maxima", "removed"),
        ("nuclear_interior", "zeros"),
        ("nuclear", "removed"),
        ("nuclear", "longer"),
    ],
)
def test_every_reader_names_what_is_missing_and_a_rerun_mends_it(run, model, capsys, key, how):
    folder, expected = run
    array, chunk = lose(folder, key, how, seed=0)
    for stage in READERS[key]:
        line = refusal(folder, model, stage, capsys)
        assert f"array '{array}'" in line
        assert f"shard {chunk} " in line
    if key == "image":
        read(folder)
    np.testing.assert_array_equal(segmented(folder, model), expected)


@pytest.mark.parametrize("how", ["removed", "cut off", "zeros", "longer"])
@pytest.mark.parametrize("stage", ["segment_shard", "stitch"])
def test_tiles_that_are_lost_are_flooded_again(run, how, stage):
    folder, expected = run
    by_hand.segmented(folder, **MEMORY)
    store = Path(Batch.open(folder / "plan").entries[0].attributes["plan"]["store"])
    array = store / "segmentation/nuclear/ids.zarr/ids/0"
    files = sorted(p for p in (array / "c").rglob("*") if p.is_file())
    before = {path: path.stat().st_mtime_ns for path in files}
    lost = random.Random(how).sample(files, 3)
    for path in lost:
        content = path.read_bytes()
        path.unlink()
        if how != "removed":
            others = {"cut off": content[:50], "zeros": bytes(99), "longer": content + b"1"}
            path.write_bytes(others[how])
    if stage == "segment_shard":
        by_hand.segmented(folder, **MEMORY)
        assert {p for p in files if p.stat().st_mtime_ns != before[p]} == set(lost)
    assert not by_hand.stitched(folder, **MEMORY)
    labels = Batch.open(folder / "labels")
    np.testing.assert_array_equal(labels.read(labels.entries[0], "nuclear"), expected)


@pytest.mark.parametrize("what", ["group", "array", "records", "marks"])
def test_a_store_without_its_metadata_is_made_anew(run, model, what):
    folder, expected = run
    store = Path(Batch.open(folder / "plan").entries[0].attributes["plan"]["store"])
    for path in [*store.rglob("*")]:
        is_lost = {
            "group": path.name == "zarr.json" and path.parent.suffix == ".zarr",
            "array": path.name == "zarr.json" and path.parent.name == "0",
            "records": path.parent.name == ".shards",
            "marks": path.parent.parent.name in ("predicted", "marks"),
        }[what]
        if is_lost and path.is_file():
            path.write_bytes(path.read_bytes()[:20])
    np.testing.assert_array_equal(segmented(folder, model), expected)
