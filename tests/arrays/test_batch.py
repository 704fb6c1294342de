"""A batch counts once its manifest is there, and tells what was skipped and why."""

import json
from pathlib import Path

import numpy as np
import pytest

from cellmill.arrays.batch import MANIFEST, Batch, Entry, check_name
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.zarr import create_zarr
from cellmill.errors import BadInput


def write(folder, names=("a", "b")):
    with BatchWriter(folder, attributes={"model": "m"}) as out:
        for name in names:
            out.write(
                name,
                {"image": np.full((2, 3, 1), len(name), "u2")},
                axes={"image": "YXC"},
                mpp=(0.5, 0.25),
                mpp_source="OME-XML",
                channels=["DAPI"],
                attributes={"source": f"{name}.tif"},
            )
            with out.open(name, "csv") as file:
                file.write(b"x\n")
    return folder


def test_what_is_written_is_read(tmp_path):
    batch = Batch.open(write(tmp_path / "batch"))
    assert batch.attributes == {"model": "m"}
    assert [e.name for e in batch.entries] == ["a", "b"]
    entry = batch.entry("b")
    assert (entry.mpp, entry.mpp_source, entry.channels) == ((0.5, 0.25), "OME-XML", ("DAPI",))
    assert entry.attributes == {"source": "b.tif"}
    assert entry.arrays["image"].shape == (2, 3, 1)
    assert batch.read(entry, "image").dtype == np.uint16
    assert batch.file(entry, "csv").read_bytes() == b"x\n"


def test_one_file_of_a_batch_is_a_batch_of_one(tmp_path):
    write(tmp_path / "batch")
    for suffix in ("npz", "csv"):
        (entry,) = Batch.open(tmp_path / "batch" / f"b.{suffix}").entries
        assert (entry.name, entry.mpp) == ("b", (0.5, 0.25))


def test_a_foreign_npz_is_a_batch_of_one(tmp_path):
    np.savez(tmp_path / "mine.npz", image=np.zeros((4, 5, 2), "u1"))
    batch = Batch.open(tmp_path / "mine.npz")
    (entry,) = batch.entries
    assert (entry.name, entry.mpp, entry.arrays["image"].axes) == ("mine", None, "YXC")
    assert batch.read(entry, "image").shape == (4, 5, 2)


def test_an_error_leaves_no_batch_and_no_file(tmp_path):
    def fail():
        with BatchWriter(tmp_path / "batch") as out:
            out.write("a", {"image": np.zeros((2, 2))}, axes={"image": "YX"})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not (tmp_path / "batch").exists()


def test_an_error_leaves_files_of_others_alone(tmp_path):
    folder = write(tmp_path / "batch")
    (folder / "notes.txt").write_text("mine")

    def fail():
        with BatchWriter(folder) as out:
            out.write("a", {"image": np.zeros((2, 2))}, axes={"image": "YX"})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [p.name for p in folder.iterdir()] == ["notes.txt"]


def test_a_folder_with_other_files_is_not_written_to(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(BadInput, match="empty folder"), BatchWriter(tmp_path):
        pass
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_a_new_batch_replaces_an_old_one(tmp_path):
    write(tmp_path / "batch")
    write(tmp_path / "batch", names=["c"])
    assert sorted(p.name for p in (tmp_path / "batch").iterdir()) == ["c.csv", "c.npz", MANIFEST]


def test_a_skipped_image_keeps_its_place_its_reason_and_no_files(tmp_path):
    with BatchWriter(tmp_path / "batch") as out:
        out.write("a", {"image": np.zeros((2, 2))}, axes={"image": "YX"})
        out.write("b", {"image": np.zeros((2, 2))}, axes={"image": "YX"})
        out.skip(Entry("a", attributes={"source": "a.tif"}), "image 'a': no good")
    batch = Batch.open(tmp_path / "batch")
    assert [(e.name, e.ok, e.error) for e in batch.entries] == [
        ("a", False, "image 'a': no good"),
        ("b", True, ""),
    ]
    assert batch.entry("a").attributes == {"source": "a.tif"}
    assert not (tmp_path / "batch" / "a.npz").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "other/1", "entries": []}'])
def test_a_damaged_manifest_is_refused(tmp_path, text):
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(BadInput, match="cellmill-batch/1"):
        Batch.open(tmp_path)


def test_a_folder_without_a_manifest_is_no_batch(tmp_path):
    with pytest.raises(BadInput, match="unfinished or no batch"):
        Batch.open(tmp_path)


def test_an_array_of_another_shape_than_its_manifest_says_is_refused(tmp_path):
    folder = write(tmp_path / "batch")
    np.savez(folder / "a.npz", image=np.zeros((9, 9, 1)))
    batch = Batch.open(folder)
    with pytest.raises(BadInput, match="as its manifest says"):
        batch.read(batch.entry("a"), "image")


def test_the_manifest_tells_other_bytes_apart(tmp_path):
    write(tmp_path / "x", names=["a"])
    with BatchWriter(tmp_path / "y") as out:
        out.write("a", {"image": np.ones((2, 3, 1), "u2") * 2}, axes={"image": "YXC"})
    sums = [
        json.loads((tmp_path / n / MANIFEST).read_text())["entries"][0]["arrays"]["image"]["crc32"]
        for n in "xy"
    ]
    assert sums[0] != sums[1]


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "a\nb", "x" * 201])
def test_names_that_no_file_can_bear_are_refused(name):
    with pytest.raises(BadInput, match="image name"):
        check_name(name)


@pytest.mark.parametrize("name", ["a b", "it's", 'q"q', "µm", "a.b"])
def test_names_with_spaces_and_quotes_are_kept(tmp_path, name):
    with BatchWriter(tmp_path / "batch") as out:
        out.write(name, {"image": np.zeros((1, 1))}, axes={"image": "YX"})
    batch = Batch.open(tmp_path / "batch")
    assert batch.read(batch.entry(name), "image").shape == (1, 1)


def test_entries_belong_together_by_name_or_because_there_is_one_of_each(tmp_path):
    some, others = (
        Batch.open(write(tmp_path / folder, names)) for folder, names in (("x", "ab"), ("y", "bc"))
    )
    assert some.counterpart(others.entry("b"), others) == some.entry("b")
    assert some.counterpart(others.entry("c"), others) is None
    lone, single = (Batch.open(write(tmp_path / name, name)) for name in "dz")
    assert lone.counterpart(single.entry("z"), single) == lone.entry("d")
    assert lone.counterpart(others.entry("b"), others) is None


def test_arrays_in_a_store_are_read_like_others(tmp_path):
    image = np.arange(600, dtype="u2").reshape(10, 20, 3)
    store = f"memory://{tmp_path.name}"
    for place in ("", str(tmp_path / "elsewhere"), store):
        with BatchWriter(tmp_path / "batch") as out:
            for name in "ab":
                out.write(
                    name,
                    {"image": image},
                    axes={"image": "YXC"},
                    mpp=(0.5, 0.5),
                    channels=["x", "y", "z"],
                    container="zarr",
                    store=place,
                )
        batch = Batch.open(tmp_path / "batch")
        assert np.array_equal(batch.read(batch.entry("b"), "image"), image)
        assert np.array_equal(batch.array(batch.entry("b"), "image")[3:5, :, 1], image[3:5, :, 1])
    with BatchWriter(tmp_path / "batch") as out:
        out.write("b", {"image": image}, axes={"image": "YXC"}, container="zarr")
    (entry,) = Batch.open(tmp_path / "batch" / "b.zarr").entries
    assert (entry.name, entry.arrays["image"].axes) == ("b", "YXC")


def test_a_foreign_zarr_is_a_batch_of_one(tmp_path):
    image = np.arange(600, dtype="u2").reshape(10, 20, 3)
    layout = {"image": (image.shape, image.dtype, "YXC")}
    create_zarr(str(tmp_path / "mine.ome.zarr"), layout, mpp=(0.5, 0.25), channels=list("xyz"))[
        "image"
    ][:] = image
    batch = Batch.open(tmp_path / "mine.ome.zarr")
    (entry,) = batch.entries
    assert (entry.name, entry.mpp, entry.channels) == ("mine", (0.5, 0.25), ("x", "y", "z"))
    assert np.array_equal(batch.read(entry, "image"), image)


def test_a_new_batch_replaces_stores_too(tmp_path):
    with BatchWriter(tmp_path / "batch") as out:
        out.write("a", {"image": np.ones((3, 3))}, axes={"image": "YX"}, container="zarr")
    write(tmp_path / "batch", names=["c"])
    assert sorted(p.name for p in (tmp_path / "batch").iterdir()) == ["c.csv", "c.npz", MANIFEST]


@pytest.mark.parametrize("name", ["work", "work.json", "other.scratch"])
def test_an_image_of_any_name_has_a_place_to_work_in(tmp_path, name):
    with BatchWriter(tmp_path / "batch") as out:
        for each in (name, f"{name}.json", "other"):
            Path(out.scratch(each)).mkdir(parents=True)
            out.annotate(each, done=True)
            out.finish(each)
    batch = Batch.open(tmp_path / "batch")
    assert [e.name for e in batch.entries] == [name, f"{name}.json", "other"]
    assert [p.name for p in batch.folder.iterdir()] == ["manifest.json"]
