"""A store holds what was written, other readers read it, and damage is one line."""

import uuid

import numpy as np
import pytest
import zarr

from cellmill.arrays.groups import write_group
from cellmill.arrays.ome import image_attributes, read_image
from cellmill.arrays.store import Ledger, packed, remove, unpacked
from cellmill.arrays.zarr import create_zarr, open_zarr
from cellmill.compute.threads import in_threads
from cellmill.errors import BadInput

RNG = np.random.default_rng(4)
IMAGE = RNG.integers(0, 4000, (700, 900, 2), "uint16")
#: Shards of this side make one array many files.
SHARD = 256


@pytest.fixture(params=["path", "file", "memory"])
def uri(request, tmp_path):
    name = f"an image {uuid.uuid4()}.zarr"
    quoted = name.replace(" ", "%20")
    return {
        "path": str(tmp_path / name),
        "file": f"file://{tmp_path}/{quoted}",
        "memory": f"memory://{name}",
    }[request.param]


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "int32", "int64", "float32"])
def test_windows_are_those_of_a_numpy_array(uri, dtype):
    expected = np.zeros(IMAGE.shape, dtype)
    arrays = create_zarr(uri, {"image": (IMAGE.shape, dtype, "YXC")}, shard=SHARD)
    written = IMAGE.astype(dtype)
    for window in (
        (slice(10, 600), slice(3, 850)),
        (slice(500, 700), slice(256, 512), 1),
        (slice(None), 899),
        (-1,),
        (slice(5, 5),),
    ):
        expected[window] = written[window]
        arrays["image"][window] = written[window]
    expected[20:30, :, 0] = arrays["image"][20:30, :, 0] = written[7, 7, 0]
    array = open_zarr(f"{uri}/image/0", "YXC")
    assert (array.shape, array.dtype, array.ndim) == (IMAGE.shape, np.dtype(dtype), 3)
    assert np.array_equal(np.asarray(array), expected)
    for window in (
        (slice(200, 300), slice(100, 700), 1),
        (..., 0),
        (slice(-9, None),),
        (3, 4),
        (slice(9, 2), slice(1, 4)),
        (slice(600, 9999), slice(880, 9999)),
    ):
        found = array[window]
        assert found.shape == expected[window].shape
        assert np.array_equal(found, expected[window])
    for wrong in (slice(0, 9, 2), 700, (0, 0, 2)):
        with pytest.raises(IndexError):
            array[wrong]


def test_other_readers_find_pixels_scale_and_channels(tmp_path):
    layout = {
        "image": (IMAGE.shape, "uint16", "YXC"),
        "whole_cell": (IMAGE.shape[:2], "int32", "YX"),
    }
    uri = str(tmp_path / "a.zarr")
    made = create_zarr(uri, layout, mpp=(0.5, 0.25), channels=["DAPI", "CD3"], shard=SHARD)
    made["image"][:] = IMAGE
    made["whole_cell"][:] = labels = (IMAGE[..., 0] // 1000).astype("int32")
    root = zarr.open_group(uri, mode="r")
    array = root["image/0"]
    assert array.metadata.dimension_names == ("c", "y", "x")
    assert array.shards == (1, SHARD, SHARD)
    assert np.array_equal(np.moveaxis(array[:], 0, -1), IMAGE)
    assert np.array_equal(root["whole_cell/0"][:], labels)
    ome = root["image"].attrs["ome"]
    assert ome["version"] == "0.5"
    (scales,) = ome["multiscales"]
    assert [a["type"] for a in scales["axes"]] == ["channel", "space", "space"]
    assert [a.get("unit") for a in scales["axes"]] == [None, "micrometer", "micrometer"]
    (dataset,) = scales["datasets"]
    assert dataset["coordinateTransformations"] == [{"type": "scale", "scale": [1.0, 0.5, 0.25]}]
    for channel in ome["omero"]["channels"]:
        assert set(channel["window"]) == {"min", "max", "start", "end"}
        assert len(channel["color"]) == 6
    image = read_image(uri)
    assert (image.axes, image.channels) == ("cyx", ("DAPI", "CD3"))
    assert image.levels[0].mpp == (0.5, 0.25)
    assert np.array_equal(np.asarray(open_zarr(image.levels[0].uri, "YXC")), IMAGE)


def test_levels_of_a_pyramid_have_their_own_pixel_sizes(tmp_path):
    about = image_attributes("image", "YX", [1, 2, 8], mpp=(0.5, 0.25))
    about["ome"]["multiscales"][0]["axes"][0]["unit"] = "nanometer"
    write_group(str(tmp_path), about)
    levels = read_image(str(tmp_path)).levels
    assert [level.mpp for level in levels] == [(0.0005, 0.25), (0.001, 0.5), (0.004, 2.0)]
    write_group(str(tmp_path), image_attributes("image", "YX", [1]))
    assert read_image(str(tmp_path)).levels[0].mpp is None


def test_writers_of_different_shards_do_not_disturb_each_other(uri):
    shape = (4 * SHARD, 4 * SHARD)
    values = RNG.integers(0, 99, shape, "int32")
    create_zarr(uri, {"labels": (shape, "int32", "YX")}, shard=SHARD)

    def fill(shard):
        rows, columns = (slice(k * SHARD, (k + 1) * SHARD) for k in divmod(shard, 4))
        open_zarr(f"{uri}/labels/0", "YX", write=True)[rows, columns] = values[rows, columns]

    in_threads(fill, range(16), threads=4)
    assert np.array_equal(np.asarray(open_zarr(f"{uri}/labels/0", "YX")), values)


def test_only_the_same_work_is_gone_on_with(uri):
    layout = {"image": ((300, 300), "uint16", "YX")}
    create_zarr(uri, layout, work="a")["image"][:9] = 7
    assert create_zarr(uri, layout, work="a")["image"][8, 8] == 7
    assert create_zarr(uri, layout, work="b")["image"][8, 8] == 0
    create_zarr(uri, layout, work="b")["image"][:9] = 7
    # Another shape, and work that has no name.
    assert create_zarr(uri, {"image": ((9, 9), "uint8", "YX")}, work="")["image"][8, 8] == 0
    create_zarr(uri, {"image": ((9, 9), "uint8", "YX")}, work="")["image"][:] = 3
    assert create_zarr(uri, {"image": ((9, 9), "uint8", "YX")}, work="")["image"][8, 8] == 0


def test_what_is_left_of_a_removal_that_was_cut_off_is_nobodys_work(uri, monkeypatch):
    layout = {"image": ((300, 300), "uint16", "YX")}
    create_zarr(uri, layout, work="a")["image"][:] = 7

    def cut_off(place):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("cellmill.arrays.zarr.remove", cut_off)
        with pytest.raises(KeyboardInterrupt):
            create_zarr(uri, layout, work="b")
    assert create_zarr(uri, layout, work="a")["image"][8, 8] == 0


@pytest.mark.parametrize("damage", ["a bit", "the end", "the metadata", "another format"])
def test_damage_is_one_line(tmp_path, damage):
    uri = str(tmp_path / "a.zarr")
    create_zarr(uri, {"image": (IMAGE.shape, "uint16", "YXC")})["image"][:] = IMAGE
    shard = max((tmp_path / "a.zarr/image/0/c").rglob("*"), key=lambda p: p.stat().st_size)
    while shard.is_dir():
        shard = max(shard.iterdir(), key=lambda p: p.stat().st_size)
    metadata = tmp_path / "a.zarr/image/0/zarr.json"
    content = bytearray(shard.read_bytes())
    if damage == "a bit":
        content[len(content) // 2] ^= 4
        shard.write_bytes(content)
    elif damage == "the end":
        shard.write_bytes(content[: len(content) // 2])
    elif damage == "the metadata":
        metadata.write_text(metadata.read_text()[:-40])
    else:
        metadata.write_text(metadata.read_text().replace('"zarr_format":3', '"zarr_format":2'))
    with pytest.raises(BadInput) as error:
        np.asarray(open_zarr(f"{uri}/image/0", "YXC"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda uri: None, r"expected an OME-Zarr 0\.5 or 0\.4 image"),
        (lambda uri: write_group(uri, {}), "found no image in it"),
        (lambda uri: write_group(uri, {"multiscales": []}), "found version 0.4 or older"),
        (lambda uri: write_group(uri, {"ome": {"version": "0.6", "multiscales": []}}), "0.6"),
        (lambda uri: write_group(uri, {"ome": {"version": "0.5", "multiscales": []}}), "metadata"),
    ],
)
def test_what_is_no_image_is_refused(uri, make, message):
    make(uri)
    with pytest.raises(BadInput, match=message) as error:
        read_image(uri)
    assert "\n" not in str(error.value)


def test_places_that_are_none_are_refused(tmp_path):
    with pytest.raises(BadInput, match="found ftp://"):
        open_zarr("ftp://x/y", "YX")
    with pytest.raises(BadInput):
        open_zarr(str(tmp_path / "none"), "YX")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput):
        create_zarr(str(tmp_path / "file" / "a.zarr"), {"image": ((9, 9), "uint8", "YX")})


def test_a_ledger_remembers_what_is_done(uri):
    ledger = Ledger(uri, "f" * 64)
    assert ledger.done() == set()
    ledger.mark("tile 3/4", packed(rim=np.arange(5)))
    ledger.mark("empty")
    again = Ledger(uri, "f" * 64)
    assert again.done() == {"tile 3/4", "empty"}
    assert unpacked(again.payload("tile 3/4"))["rim"].tolist() == [0, 1, 2, 3, 4]
    assert Ledger(uri, "e" * 64).done() == set()
    with pytest.raises(BadInput, match="no mark of it"):
        again.payload("other")
    again.clear()
    assert Ledger(uri, "f" * 64).done() == set()


def test_a_store_is_removed_with_all_that_is_in_it(uri):
    create_zarr(uri, {"image": ((9, 9), "uint8", "YX")})
    remove(uri)
    with pytest.raises(BadInput):
        open_zarr(f"{uri}/image/0", "YX")
    remove(uri)
