"""Images come in by URI, keep their pixels, and bring scale, channels and truth with them."""

import hashlib
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cellmill.arrays.batch import Batch
from cellmill.arrays.zarr import create_zarr
from cellmill.contract import Dataset, Record
from cellmill.contract.cli import main
from cellmill.datasets import samples
from cellmill.errors import BadInput
from cellmill.io import uris
from cellmill.measurement import measure_labels
from cellmill.stages.shared import conversion
from cellmill.stages.tiff_to_npz import tiff_to_npz

RNG = np.random.default_rng(9)
FOUR = RNG.integers(0, 60_000, (4, 50, 70), "uint16")
NAMES = ["DAPI", "CD3", "membrane", "CD3"]
METADATA = {
    "axes": "CYX",
    "PhysicalSizeX": 0.25,
    "PhysicalSizeY": 0.25,
    "Channel": {"Name": NAMES},
}


@pytest.fixture
def run(tmp_path):
    def call(items, **parameters):
        images, truth = Dataset(tmp_path / "images"), Dataset(tmp_path / "truth")
        record = Record(tmp_path / "record.json")
        tiff_to_npz(images, truth, record, items, **parameters)
        return Batch.open(images.path), Batch.open(truth.path), record

    return call


@pytest.fixture
def four(tmp_path):
    path = tmp_path / 'it\'s a "four" #1 µ.ome.tif'
    tifffile.imwrite(path, FOUR, ome=True, metadata=METADATA, photometric="minisblack")
    return path


def write(path, data, **options):
    tifffile.imwrite(path, data, **{"photometric": "minisblack", **options})
    return str(path)


def test_the_sample_image_with_its_truth(run):
    image, truth = samples.sample_image()
    digest = f"sha256:{hashlib.sha256(image.read_bytes()).hexdigest()}"
    item = {"image": str(image), "truth": str(truth), "digest": digest}
    images, truths, record = run([item])
    (entry,) = images.entries
    assert entry.name == "img2d"
    assert entry.arrays["image"].axes == "YXC"
    assert np.array_equal(images.read(entry, "image")[..., 0], tifffile.imread(image))
    assert (entry.mpp, entry.mpp_source) == (None, "unknown")
    assert entry.attributes["digest"] == digest
    assert entry.attributes["source"] == str(image)
    assert entry.attributes["segmentation_channels"] == [0]
    labels = truths.read(truths.entry("img2d"), "labels")
    assert labels.dtype == np.int32
    assert np.array_equal(labels, tifffile.imread(truth))
    assert truths.entry("img2d").attributes["truth"] is True
    assert {step["name"] for step in record.images["img2d"].steps} >= {"read image", "read truth"}


def test_channels_and_scale(run, four):
    images, truths, _ = run([str(four)], channels="membrane,dapi")
    (entry,) = images.entries
    assert entry.name == 'it\'s a "four" #1 µ'
    assert entry.channels == ("membrane", "DAPI")
    assert entry.attributes["segmentation_channels"] == [0, 1]
    assert entry.attributes["source_channels"] == [2, 0]
    assert entry.mpp == (0.25, 0.25)
    assert entry.mpp_source == "OME-XML"
    assert images.read(entry, "image").dtype == np.uint16
    assert np.array_equal(images.read(entry, "image"), np.moveaxis(FOUR[[2, 0]], 0, -1))
    assert truths.entries[0].attributes == {"truth": False}
    assert not truths.entries[0].arrays


@pytest.mark.parametrize(
    ("channels", "measured", "stored", "segmented"),
    [
        ("0", "all", [0, 1, 2, 3], [0]),
        ("2,0", "all", [2, 0, 1, 3], [0, 1]),
        ("2,-", "3", [2, 3], [0, -1]),
        ("-,2", "2", [2], [-1, 0]),
        ("1,1", "", [1], [0, 0]),
        ("0", "DAPI,3", [0, 3], [0]),
    ],
)
def test_channels_to_measure(run, four, channels, measured, stored, segmented):
    images, _, _ = run([str(four)], channels=channels, measure_channels=measured)
    (entry,) = images.entries
    assert entry.attributes["source_channels"] == stored
    assert entry.attributes["segmentation_channels"] == segmented
    assert np.array_equal(images.read(entry, "image"), np.moveaxis(FOUR[stored], 0, -1))
    assert len(set(entry.channels)) == len(stored)


def test_two_channels_of_one_name_are_told_apart(run, four):
    images, _, _ = run([str(four)], channels="0", measure_channels="all")
    assert images.entries[0].channels == ("DAPI", "CD3 1", "membrane", "CD3 3")
    # The same whichever channels are carried.
    images, _, _ = run([str(four)], channels="1")
    assert images.entries[0].channels == ("CD3 1",)


def test_no_channel_bears_the_name_of_another(run, tmp_path):
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "DAPI", "DAPI 1"]}}
    path = write(tmp_path / "cycles.ome.tif", FOUR[:3], ome=True, metadata=metadata)
    images, _, _ = run([path], channels="0", measure_channels="all")
    (entry,) = images.entries
    assert entry.channels == ("DAPI [0]", "DAPI [1]", "DAPI 1")
    table = measure_labels(
        np.ones((50, 70), int), images.array(entry, "image"), channel_names=entry.channels
    )
    for index, name in enumerate(entry.channels):
        assert table[f"max_{name}"].to_pylist() == [FOUR[index].max()]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "expected channels=… to say which to segment, found 4 channels: 0 'DAPI', 1 'CD3'"),
        ({"channels": "GFP"}, "channel 'GFP' of image"),
        ({"channels": "CD3"}, "channels 1, 3 of that name"),
        ({"channels": "4"}, "an index from 0 to 3"),
        ({"channels": "-"}, "at least one channel of the image"),
        ({"channels": "0", "measure_channels": "9"}, "channel '9'"),
        ({"channels": "0", "z": 1}, "z from 0 to 0"),
        ({"channels": "0", "mpp": -1.0}, "parameter mpp: expected 0 or more microns"),
        ({"channels": "0", "target_mpp": float("nan")}, "parameter target_mpp"),
    ],
)
def test_parameters_that_do_not_fit(run, four, tmp_path, parameters, message):
    with pytest.raises(BadInput) as error:
        run([str(four)], **parameters)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "images").exists()
    assert not (tmp_path / "truth").exists()


def test_an_explicit_scale_overrides_the_file(run, four):
    images, _, _ = run([str(four)], channels="0", mpp=0.5)
    assert images.entries[0].mpp == (0.5, 0.5)
    assert images.entries[0].mpp_source == "parameter"


def test_pages_that_nothing_explains(run, tmp_path):
    path = write(tmp_path / "stack.tif", FOUR, metadata=None)
    with pytest.raises(BadInput, match=r"or z=… or t=….*found 4 pages and no word"):
        run([path])
    images, _, _ = run([path], z=2)
    assert np.array_equal(images.read(images.entries[0], "image")[..., 0], FOUR[2])


def test_colour_images(run, tmp_path):
    colour = write(tmp_path / "a.tif", np.moveaxis(FOUR[:3], 0, -1), photometric="rgb")
    with pytest.raises(BadInput, match="found a colour image, 3 channels: 0 'R', 1 'G', 2 'B'"):
        run([colour])
    images, _, _ = run([colour], channels="G")
    assert np.array_equal(images.read(images.entries[0], "image")[..., 0], FOUR[1])
    grey = write(tmp_path / "b.tif", np.stack([FOUR[0]] * 3, -1), photometric="rgb")
    images, _, record = run([grey])
    assert np.array_equal(images.read(images.entries[0], "image")[..., 0], FOUR[0])
    assert record.notes["remarks"] == {
        "b": ["grey stored as red, green and blue: one of them is taken"]
    }


def test_whole_cells_and_nuclei_as_truth(run, tmp_path, four):
    labels = RNG.integers(0, 9, (2, 50, 70)).astype("int32")
    path = write(tmp_path / "truth.tif", labels, metadata={"axes": "CYX"})
    _, truths, _ = run([{"image": str(four), "truth": path}], channels="0")
    entry = truths.entries[0]
    assert entry.channels == ("whole_cell", "nuclear")
    assert entry.arrays["labels"].axes == "YXC"
    assert np.array_equal(truths.read(entry, "labels"), np.moveaxis(labels, 0, -1))


def test_truth_of_another_shape(run, tmp_path, four):
    path = write(tmp_path / "truth.tif", np.zeros((50, 71), "uint8"))
    with pytest.raises(BadInput, match=r"expected shape \(50, 70\).*found shape \(50, 71\)"):
        run([{"image": str(four), "truth": path}], channels="0")


def test_what_was_done_to_the_truth_is_recorded(run, tmp_path, four):
    mask = np.zeros((50, 70), "uint8")
    mask[3:9, 3:9] = 255
    path = write(tmp_path / "truth.tif", mask)
    _, truths, record = run([{"image": str(four), "truth": path}], channels="0")
    assert "1 connected pieces" in truths.entries[0].attributes["remarks"][0]
    assert record.notes["remarks"][truths.entries[0].name][0].startswith("truth: a mask")


def test_what_a_truth_is_stands_in_the_batch_the_record_and_the_log(run, tmp_path, four, capsys):
    mask = np.zeros((50, 70), "uint16")
    mask[3:9, 3:9] = mask[20:30, 20:30] = 700
    path = write(tmp_path / "truth.tif", mask)
    item = {"image": str(four), "truth": path, "name": "a", "pairing": "their names"}
    for kind, decision in (
        ("", "a mask of yes and no (0 and 700): its 2 connected pieces are taken as objects"),
        ("labels", "labels: 1 numbers, an object each"),
    ):
        _, truths, record = run([item], channels="0", truth_kind=kind)
        about = truths.entries[0].attributes
        assert (about["source"], about["pairing"]) == (path, "their names")
        assert about["kind"] == (kind or "mask")
        assert about["decision"].startswith(decision)
        assert record.notes["truth"] == {
            "a": {key: about[key] for key in ("source", "pairing", "kind", "decision")}
        }
        assert f"a: truth: {decision}" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["tiff", "zarr"])
def test_a_truth_that_is_too_large_to_be_held_is_the_same(
    run, tmp_path, four, kind, monkeypatch, capsys
):
    labels = np.kron(RNG.permutation(35).reshape(5, 7), np.ones((10, 10), int)).astype("int32")
    planes = np.stack([labels, labels[::-1], labels[:, ::-1]])
    names = ["x", "nuclei", "cells"]

    def stored(name, pixels, names=()):
        if kind == "tiff":
            about = {"axes": "CYX", "Channel": {"Name": names}} if names else {"axes": "YX"}
            return write(tmp_path / f"{name}.ome.tif", pixels, ome=True, metadata=about)
        uri = str(tmp_path / f"{name}.zarr")
        pixels = np.moveaxis(pixels, 0, -1) if names else pixels
        axes = "YXC" if names else "YX"
        layout = {"image": (pixels.shape, pixels.dtype, axes)}
        create_zarr(uri, layout, channels=names)["image"][...] = pixels
        return uri

    one, three = stored("one", labels), stored("three", planes, names)
    two_values = stored("two", np.where(labels % 2, 5, 0).astype("int32"))
    full = stored("full", (labels + 221).astype("uint8"))

    def read(truth, **parameters):
        items = [{"image": str(four), "truth": truth}]
        _, truths, record = run(items, channels="0", container="zarr", **parameters)
        entry = truths.entries[0]
        return truths.read(entry, "labels"), entry.channels, record.notes["truth"]

    whole = [read(one), read(three), read(two_values, truth_kind="labels")]
    monkeypatch.setattr(conversion, "_WHOLE_TRUTH", 0)
    streamed = [read(one), read(three), read(two_values, truth_kind="labels")]
    for (a, a_channels, _), (b, b_channels, said) in zip(whole, streamed, strict=True):
        assert np.array_equal(a, b)
        assert a_channels == b_channels
        assert next(iter(said.values()))["decision"]
    assert np.array_equal(streamed[1][0], np.stack([labels[:, ::-1], labels[::-1]], -1))
    with pytest.raises(BadInput, match=r"truth_kind=labels.*a mask of yes and no \(0 and 5\)"):
        read(two_values)
    with pytest.raises(BadInput, match=r"a number per object.*found mask"):
        read(one, truth_kind="mask")
    read(full)
    assert "its labels end at 255: more than fit 8 bits would be lost" in capsys.readouterr().err


def test_bytes_that_changed_since_the_launch_are_refused(run, tmp_path):
    path = Path(write(tmp_path / "a.tif", FOUR[0]))
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    truth = Path(write(tmp_path / "a_mask.tif", np.zeros((50, 70), "uint8")))
    truth_digest = f"sha256:{hashlib.sha256(truth.read_bytes()).hexdigest()}"
    item = {"image": str(path), "digest": digest, "truth": str(truth), "truth_digest": truth_digest}
    run([item])
    run([{"image": str(path), "digest": "etag:a-bucket's"}])
    for key in ("digest", "truth_digest"):
        with pytest.raises(BadInput, match="expected the bytes of sha256:0"):
            run([{**item, key: "sha256:" + "0" * 64}])


def test_without_a_digest_a_file_is_known_by_its_stamp_and_only_its_tiles_are_read(
    run, tmp_path, monkeypatch
):
    path = tmp_path / "a.tif"
    pixels = np.random.default_rng(0).integers(0, 2**16, (8, 512, 512), np.uint16)
    tifffile.imwrite(path, pixels, photometric="minisblack", tile=(128, 128), compression="zlib")
    with tifffile.TiffFile(path) as tif:
        wanted = sum(tif.pages[3].databytecounts)
    read = []

    class Counted(io.FileIO):
        def read(self, size=-1, /):
            data = super().read(size)
            read.append(len(data))
            return data

        def readinto(self, buffer, /):
            got = super().readinto(buffer)
            read.append(got)
            return got

    monkeypatch.setattr(uris, "open_uri", lambda uri: Counted(uri))
    images, _, _ = run([str(path)], channels="3")
    assert np.array_equal(images.read(images.entries[0], "image")[..., 0], pixels[3])
    assert wanted <= sum(read) <= 1.1 * wanted
    known = images.entries[0].attributes["digest"]
    assert known == f"stat:{path.stat().st_size}-{path.stat().st_mtime_ns}"
    os.utime(path, ns=(1, 1))
    images, _, _ = run([str(path)], channels="3")
    assert images.entries[0].attributes["digest"] != known


def test_a_bad_image_is_skipped_if_asked_for(run, tmp_path):
    good = write(tmp_path / "good.tif", FOUR[0])
    cut = tmp_path / "cut.tif"
    cut.write_bytes(Path(good).read_bytes()[:3000])
    nan = write(tmp_path / "nan.tif", np.full((5, 5), np.nan, "float32"))
    truth = write(tmp_path / "truth.tif", np.zeros((5, 6), "uint8"))
    items = [
        good,
        str(cut),
        nan,
        str(tmp_path / "nothing.tif"),
        {"image": good, "truth": truth, "name": "shape"},
    ]
    images, truths, record = run(items, on_bad_image="skip")
    assert [e.status for e in images.entries] == ["ok"] + ["skipped"] * 4
    assert [e.status for e in truths.entries] == ["ok"] + ["skipped"] * 4
    errors = [e.error for e in images.entries]
    for part, error in zip(
        ("", "cut off", "25 pixels that are NaN", "nothing there", "found shape (5, 6)"),
        errors,
        strict=True,
    ):
        assert part in error
    assert sorted(p.name for p in images.folder.iterdir()) == ["good.npz", "manifest.json"]
    assert record.images["nan"].status == "skipped"
    with pytest.raises(BadInput, match="cut off"):
        run(items)
    with pytest.raises(BadInput, match="all 1 images"):
        run([nan], on_bad_image="skip")


@pytest.mark.parametrize(
    "data",
    [np.zeros((1, 1), "uint8"), np.zeros((40, 30), "uint16"), np.full((3, 200), 7, "float32")],
    ids=["one pixel", "all zero", "constant"],
)
def test_dull_images_pass(run, tmp_path, data):
    images, _, _ = run([write(tmp_path / "a.tif", data)])
    assert np.array_equal(images.read(images.entries[0], "image")[..., 0], data)


def test_by_hand(tmp_path, four, capsys):
    items = json.dumps([{"image": str(four), "name": "a"}])
    arguments = ["--items", items, "--channels", "0,2", "--images", f"{tmp_path}/i"]
    assert main(["tiff_to_npz", *arguments, "--truth", f"{tmp_path}/t"]) == 0
    assert Batch.open(tmp_path / "i").entries[0].channels == ("DAPI", "membrane")
    arguments[3] = "7"
    assert main(["tiff_to_npz", *arguments, "--truth", f"{tmp_path}/t"]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("cellmill tiff_to_npz: channel '7' of image ")
