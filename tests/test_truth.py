"""Label images made by others are read as they are meant, and what was done to them is said."""

import io
import zipfile

import numpy as np
import pytest
import tifffile
from PIL import Image

from cellmill.errors import BadInput
from cellmill.truth import read_truth
from launch import samples

RNG = np.random.default_rng(5)
LABELS = np.kron(RNG.integers(0, 40, (12, 9)), np.ones((10, 10), int)).astype(np.int32)


def tiff(data, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, data, **{"photometric": "minisblack", **options})
    return file


def png(data, mode=None):
    file = io.BytesIO()
    Image.fromarray(data, mode).save(file, "PNG")
    return file


def npz(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file


def npy(data):
    file = io.BytesIO()
    np.save(file, data)
    return file


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32"])
def test_integers_are_kept_as_they_are(dtype):
    for file in (
        tiff(LABELS.astype(dtype)),
        npy(LABELS.astype(dtype)),
        npz(a=LABELS.astype(dtype)),
    ):
        found = read_truth(file, "mask")
        assert found.labels.dtype == np.int32
        assert np.array_equal(found.labels, LABELS)
        assert found.remarks == ()


def test_numbers_that_float32_does_not_hold_are_kept():
    labels = LABELS.astype(np.int64)
    labels[0, 0] = 2**31 - 1
    assert read_truth(tiff(labels.astype("uint32")), "m").labels[0, 0] == 2**31 - 1
    assert read_truth(npy(labels), "m").labels[0, 0] == 2**31 - 1
    with pytest.raises(BadInput, match="found label 2147483648"):
        read_truth(npy(labels + 1), "m")
    with pytest.raises(BadInput, match="found label -1"):
        read_truth(npy(np.full((3, 3), -1)), "m")


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_png(dtype):
    assert np.array_equal(read_truth(png(LABELS.astype(dtype)), "m").labels, LABELS)


def test_the_indices_of_a_palette_are_the_labels():
    file = io.BytesIO()
    image = Image.fromarray(LABELS.astype("uint8"), "P")
    image.putpalette(RNG.integers(0, 255, 768).astype("uint8").tobytes())
    image.save(file, "PNG")
    assert np.array_equal(read_truth(file, "m").labels, LABELS)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_whole_numbers_in_floats(dtype):
    assert np.array_equal(read_truth(tiff(LABELS.astype(dtype)), "m").labels, LABELS)
    with pytest.raises(BadInput, match=r"whole numbers, found \d+ pixels that are none"):
        read_truth(tiff(LABELS.astype(dtype) + 0.5), "m")


def test_nan_is_refused():
    labels = LABELS.astype("float32")
    labels[2, 2] = np.nan
    for file in (tiff(labels), npy(labels)):
        with pytest.raises(BadInput, match=r"truth 'm'.*found 1 pixels"):
            read_truth(file, "m")


def two():
    return LABELS, np.where(LABELS % 2, LABELS, 0).astype(np.int32)


@pytest.mark.parametrize(
    "file",
    [
        tiff(np.stack(two()), metadata={"axes": "CYX"}),
        tiff(np.stack(two(), axis=-1), planarconfig="contig"),
        npy(np.stack(two())),
        npy(np.stack(two(), axis=-1)),
        npz(whole_cell=two()[0], nuclear=two()[1]),
        npz(labels=np.stack(two(), axis=-1), other=np.zeros(3)),
    ],
    ids=["pages", "samples", "first axis", "last axis", "by name", "labels"],
)
def test_whole_cells_and_nuclei(file):
    assert np.array_equal(read_truth(file, "m").labels, np.stack(two(), axis=-1))


def test_a_mask_of_yes_and_no_is_labelled_and_said_to_be_one():
    mask = np.zeros((20, 20), bool)
    mask[2:5, 2:5] = mask[5, 5] = mask[10:14, 3:9] = True
    for file in (
        png(mask.astype("uint8") * 255),
        tiff(mask),
        npy(mask),
        tiff(mask * np.uint16(255)),
    ):
        found = read_truth(file, "m")
        assert found.labels.max() == 2
        assert np.array_equal(found.labels > 0, mask)
        assert "2 connected pieces are taken as objects" in found.remarks[0]


def test_one_object_is_one_object():
    labels = np.zeros((20, 20), "uint8")
    labels[3:9, 3:9] = 1
    assert read_truth(png(labels), "m").remarks == ()
    labels[12:, 12:] = 1
    found = read_truth(png(labels), "m")
    assert np.array_equal(found.labels, labels)
    assert "2 pieces" in found.remarks[0]


def test_labels_in_pieces_are_kept():
    labels = np.zeros((20, 20), "uint8")
    labels[3:5, 3:9] = labels[12:, 12:] = 7
    labels[8, 8] = 2
    assert np.array_equal(read_truth(png(labels), "m").labels, labels)


def test_nothing_labelled():
    for file in (png(np.zeros((9, 9), "uint8")), png(np.zeros((9, 9, 4), "uint8"))):
        assert not read_truth(file, "m").labels.any()


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("write", [png, lambda data: tiff(data, photometric="rgb"), npy])
def test_colours(channels, write):
    data = np.zeros((60, 80, channels), "uint8")
    if channels == 4:
        data[50:, :] = (9, 9, 9, 0)
    solid = (255,) * (channels - 3)
    data[0:10, 0:10] = (255, 0, 0, *solid)
    data[0:10, 10:20] = (0, 255, 0, *solid)
    data[30:40, 60:70] = (255, 0, 0, *solid)
    data[20:22, 30:40] = (0, 0, 255, *solid)
    found = read_truth(write(data), "m")
    assert found.labels.dtype == np.int32
    assert sorted(np.unique(found.labels)) == [0, 1, 2, 3]
    assert [found.labels[y, x] for y, x in ((5, 5), (5, 15), (35, 65), (20, 30))] == [1, 2, 3, 0]
    assert found.remarks[0].startswith("colours: 3 connected pieces")
    assert "1 below 30 px left out" in found.remarks[0]


def test_grey_stored_as_colours():
    data = np.repeat(LABELS.astype("uint8")[..., None], 3, axis=-1)
    found = read_truth(png(data), "m")
    assert np.array_equal(found.labels, LABELS)
    assert "grey" in found.remarks[0]


def test_grey_with_alpha():
    data = np.stack([LABELS, np.where(LABELS > 20, 255, 0)], axis=-1).astype("uint8")
    found = read_truth(png(data), "m")
    assert np.array_equal(found.labels, np.where(LABELS > 20, LABELS, 0))


@pytest.mark.parametrize(
    ("file", "found"),
    [
        (io.BytesIO(), "an empty file"),
        (io.BytesIO(b"\xff\xd8\xff\xe0 jpeg"), "a JPEG, which keeps no labels"),
        (io.BytesIO(b"hello world"), "a file that begins with"),
        (io.BytesIO(png(LABELS.astype("uint8")).getvalue()[:90]), "found"),
        (io.BytesIO(tiff(LABELS).getvalue()[:3000]), "cut off"),
        (io.BytesIO(npz(a=LABELS).getvalue()[:-30]), "damaged"),
        (io.BytesIO(npy(LABELS).getvalue()[:-30]), "found"),
        (npz(a=LABELS, b=LABELS), "a, b"),
        (npz(whole_cell=LABELS, nuclear=LABELS[1:]), "shapes"),
        (npy(np.array([object()])), "found ValueError"),
        (npy(np.zeros((5, 9, 9, 9), int)), "shape (5, 9, 9, 9)"),
        (npy(np.zeros((7, 9, 9), int)), "shape (7, 9, 9)"),
        (npy(np.zeros(9, int)), "shape (9,)"),
        (npy(np.zeros((0, 9), int)), "shape (0, 9)"),
        (npy(np.array([["a"]])), "<U1"),
        (tiff(np.zeros((7, 9, 9), "uint16")), "7 channels"),
        (tiff(np.zeros((7, 9, 9), "u2"), ome=True, metadata={"axes": "ZYX"}), "7 focal planes"),
    ],
)
def test_what_is_no_truth_is_one_line(file, found):
    with pytest.raises(BadInput) as error:
        read_truth(file, "mask")
    assert str(error.value).startswith("truth 'mask': expected ")
    assert found in str(error.value)
    assert "\n" not in str(error.value)


def test_mnfinders_masks_hold_what_data_md_counts():
    objects = {"training": 0, "validation": 0, "test": 0}
    with zipfile.ZipFile(samples.fetch_wheel(samples.MNFINDER)) as wheel:
        for name in wheel.namelist():
            _, split, *rest = name.split("/")
            if "nucleus_masks" in rest and name.endswith(".png"):
                found = read_truth(io.BytesIO(wheel.read(name)), name)
                objects[split.removesuffix("-data")] += int(found.labels.max())
    assert objects == {"training": 2375, "validation": 232, "test": 606}


def test_stardists_mask():
    _, truth = samples.sample_image()
    with truth.open("rb") as file:
        found = read_truth(file, str(truth))
    assert len(np.unique(found.labels)) == 1 + 125
    assert found.shape == (512, 512)
