"""Label images made by others are read as they are meant, and what was done to them is said."""

import io
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.measure import label as label_pieces

from cellmill.arrays.zarr import create_zarr
from cellmill.datasets import samples
from cellmill.errors import BadInput
from cellmill.io.truth import read_truth

RNG = np.random.default_rng(5)
LABELS = np.kron(RNG.permutation(108).reshape(12, 9), np.ones((10, 10), int)).astype(np.int32)


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


@settings(max_examples=60, deadline=None)
@given(
    value=st.integers(1, 65535),
    spots=st.lists(st.tuples(st.integers(0, 56), st.integers(0, 56)), min_size=1, max_size=9),
    write=st.sampled_from(["tiff", "png", "npy", "float"]),
)
@example(value=65535, spots=[(0, 0), (20, 20)], write="tiff")
@example(value=128, spots=[(0, 0), (20, 20)], write="png")
@example(value=1, spots=[(0, 0), (20, 20)], write="png")
def test_a_mask_has_the_same_pieces_whatever_its_value_for_yes(value, spots, write):
    mask = np.zeros((60, 60), bool)
    for y, x in spots:
        mask[y : y + 4, x : x + 4] = True
    pixels = (mask * value).astype("uint8" if value < 256 else "uint16")
    file = {
        "tiff": lambda: tiff(pixels),
        "png": lambda: png(pixels),
        "npy": lambda: npy(pixels),
        "float": lambda: tiff(pixels.astype("float32")),
    }[write]()
    found, pieces = read_truth(file, "m"), label_pieces(mask, connectivity=2)
    assert np.array_equal(found.labels > 0, mask)
    if pieces.max() > 1:
        assert found.kind == "mask"
        assert np.array_equal(found.labels, pieces)
        assert f"its {pieces.max()} connected pieces are taken as objects" in found.remarks[0]
        as_labels = read_truth(file, "m", "labels")
        assert (as_labels.kind, set(np.unique(as_labels.labels))) == ("labels", {0, value})
    else:
        assert len(np.unique(found.labels)) == 2
    assert np.array_equal(read_truth(file, "m", "mask").labels, pieces)


def test_two_values_of_which_none_is_0_are_refused():
    labels = np.where(LABELS > 40, 2, 1).astype("uint8")
    with pytest.raises(BadInput, match=r"0 where there is no object .*found two values, 1 and 2"):
        read_truth(png(labels), "m")
    assert np.array_equal(read_truth(png(labels), "m", "labels").labels, labels)


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


VISIBLE = np.where(LABELS > 20, 255, 0)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("alpha", ["assocalpha", "unassalpha"])
def test_alpha_is_no_truth(planar, alpha):
    axis = -1 if planar == "contig" else 0
    two = np.stack([LABELS, VISIBLE], axis=axis).astype("uint8")
    options = {"planarconfig": planar, "metadata": None}
    for file in (
        png(np.stack([LABELS, VISIBLE], axis=-1).astype("uint8")),
        tiff(two, extrasamples=[alpha], **options),
    ):
        found = read_truth(file, "m")
        assert (found.kind, found.remarks) == ("labels", ())
        assert np.array_equal(found.labels, np.where(VISIBLE, LABELS, 0))
    # What is not said to be alpha is a second plane.
    assert read_truth(tiff(two, extrasamples=["unspecified"], **options), "m").kind == "planes"


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_what_is_beside_red_green_and_blue_and_no_alpha_hides_nothing(planar):
    data = np.zeros((40, 40, 4), "uint8")
    data[:10, :10], data[20:30, 20:30] = (255, 0, 0, 0), (0, 0, 9, 0)
    data = data if planar == "contig" else np.moveaxis(data, -1, 0)
    options = {"photometric": "rgb", "planarconfig": planar, "metadata": None}
    found = read_truth(tiff(data, extrasamples=["unspecified"], **options), "m")
    assert found.labels.max() == 2
    assert "1 samples beside red, green and blue are not used" in found.remarks
    assert not read_truth(tiff(data, extrasamples=["unassalpha"], **options), "m").labels.any()


def stack(count, dtype="uint32"):
    return np.stack([LABELS, *two()[1:], LABELS[::-1], LABELS[:, ::-1]])[:count].astype(dtype)


def named_stack(names):
    metadata = {"axes": "CYX", "Channel": {"Name": names}}
    return tiff(stack(len(names)), ome=True, metadata=metadata)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["cells", "nuclei", "c"], [0, 1]),
        (["cells", "nuclei", "c", "d"], [0, 1]),
        (["Nucleus mask", "Cell outlines", "Cell mask"], [2, 0]),
        (["nuclei", "cells"], [1, 0]),
        (["whole_cell", "nuclear"], [0, 1]),
        (["first", "second"], [0, 1]),
    ],
)
def test_planes_of_labels_go_by_their_names(names, chosen):
    found = read_truth(named_stack(names), "m")
    assert found.kind == "planes"
    assert np.array_equal(found.labels, np.moveaxis(stack(4)[chosen], 0, -1))
    assert all(f"'{name}'" in found.decision for name in names) == (names != ["first", "second"])


@pytest.mark.parametrize(
    "file",
    [
        named_stack(["a", "b", "c"]),
        named_stack(["a", "nuclei", "c", "d"]),
        named_stack(["nuclei", "membrane"]),
        named_stack(["cells", "cells", "nuclei"]),
        tiff(stack(3), metadata={"axes": "CYX"}),
        tiff(stack(4, "uint8"), metadata={"axes": "CYX"}),
        tiff(np.moveaxis(stack(3, "uint8"), 0, -1), planarconfig="contig"),
        tiff(np.moveaxis(stack(4, "uint16"), 0, -1), planarconfig="contig"),
        tiff(stack(3, "uint16"), metadata=None),
        npy(stack(3)),
        npy(np.moveaxis(stack(4), 0, -1)),
    ],
    ids=lambda _: "file",
)
def test_planes_that_nothing_names_are_never_colours(file):
    with pytest.raises(BadInput) as error:
        read_truth(file, "m")
    assert "truth_kind=planes to take the first two" in str(error.value)
    assert "planes of labels" in str(error.value)
    found = read_truth(file, "m", "planes")
    if "cells" not in found.decision.split("whole cells", 1)[1]:
        assert np.array_equal(found.labels[..., 0], LABELS)


def test_a_user_can_say_what_a_file_is():
    data = np.zeros((40, 60, 3), "uint8")
    data[:10, :10], data[:10, 10:20], data[20:30, 40:50] = (9, 0, 0), (0, 9, 0), (9, 0, 0)
    for file in (png(data), tiff(data, photometric="rgb")):
        assert read_truth(file, "m").labels.max() == 3
        assert read_truth(file, "m", "mask").labels.max() == 2
        both = read_truth(file, "m", "planes")
        assert np.array_equal(both.labels > 0, data[..., :2] > 0)
        with pytest.raises(BadInput, match="one plane of labels, found red, green and blue"):
            read_truth(file, "m", "labels")
    wrapped = (LABELS % 7).astype("uint8")
    pieces = read_truth(png(wrapped), "m", "colours")
    assert pieces.labels.max() > 30
    assert pieces.remarks == ()
    with pytest.raises(BadInput, match="two planes, as truth_kind=planes asks, found one plane"):
        read_truth(png(wrapped), "m", "planes")
    with pytest.raises(BadInput, match="one plane, as truth_kind=mask asks, found 2 planes"):
        read_truth(npy(np.stack(two())), "m", "mask")
    with pytest.raises(BadInput, match="truth_kind: expected labels or mask or colours or planes"):
        read_truth(png(wrapped), "m", "instances")


def test_labels_that_wrapped_or_were_cut_at_8_bits_are_remarked():
    many = np.kron(np.arange(400).reshape(20, 20), np.ones((8, 8), int))
    many[::8], many[:, ::8] = 0, 0
    assert read_truth(tiff(many.astype("uint16")), "m").remarks == ()
    for wrong in (many % 256, np.minimum(many, 255)):
        found = read_truth(png(wrong.astype("uint8")), "m")
        assert np.array_equal(found.labels, wrong)
        (remark,) = found.remarks
        assert "lie in pieces far apart" in remark
        assert "end at 255: numbers that did not fit 8 bits" in remark


def test_what_is_no_label_image_of_objects_is_remarked():
    classes = np.where(LABELS % 3 == 0, 0, 1 + LABELS % 3).astype("uint8")
    classes[::10], classes[:, ::10] = 0, 0
    (remark,) = read_truth(png(classes), "m").remarks
    assert "2 of 2 labels lie in pieces far apart" in remark
    assert "like classes, not objects" in remark
    (remark,) = read_truth(tiff(LABELS.astype("uint8") + 1), "m").remarks
    assert remark == "no pixel is 0, which is the background"
    around = np.full((60, 60), 9, "uint8")
    around[10:20, 10:20], around[30:34, 30:34] = 0, 2
    (remark,) = read_truth(tiff(around), "m").remarks
    assert "label 9 covers most of the image" in remark
    picture = RNG.integers(0, 4000, (700, 700)).astype("uint16")
    assert any("values of a picture" in remark for remark in read_truth(tiff(picture), "m").remarks)


def test_real_labels_are_not_remarked():
    for sample in samples.mnfinder("validation"):
        for path in (sample.nuclei, sample.micronuclei):
            with path.open("rb") as file:
                assert read_truth(file, "m").remarks == ()


def test_labels_compressed_with_loss_are_refused():
    file = tiff(LABELS.astype("uint8"), compression="jpeg")
    with pytest.raises(BadInput, match="expected labels, found JPEG compression"):
        read_truth(file, "m")


def test_an_ome_zarr(tmp_path):
    uri = str(tmp_path / "m.zarr")
    planes = np.moveaxis(stack(3, "int32"), 0, -1)
    layout = {"image": (planes.shape, np.int32, "YXC")}
    create_zarr(uri, layout, channels=["x", "nuclei", "cells"])["image"][...] = planes
    found = read_truth(None, uri)
    assert np.array_equal(found.labels, planes[..., [2, 1]])
    assert found.decision.endswith("(OME-Zarr, 3 channels)")


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
        (npy(np.array([[object()]])), "found ValueError"),
        (npy(np.zeros((5, 9, 9, 9), int)), "shape (5, 9, 9, 9)"),
        (npy(np.zeros((7, 9, 9), int)), "shape (7, 9, 9)"),
        (npy(np.zeros(9, int)), "shape (9,)"),
        (npy(np.zeros((0, 9), int)), "shape (0, 9)"),
        (npy(np.array([["a"]])), "<U1"),
        (tiff(np.zeros((7, 9, 9), "uint16")), "7 planes of labels"),
        (tiff(np.zeros((7, 9, 9), "u2"), ome=True, metadata={"axes": "ZYX"}), "7 focal planes"),
    ],
)
def test_what_is_no_truth_is_one_line(file, found):
    with pytest.raises(BadInput) as error:
        read_truth(file, "mask")
    assert str(error.value).startswith("truth 'mask': expected ")
    assert found in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["tiff", "png", "npy", "npz", "planes"])
def test_a_shape_that_is_not_the_images_is_refused_before_pixels_are_decoded(kind):
    """A few kilobytes may declare gigabytes; nothing is taken for them."""
    shape = (20_000, 20_000)
    zeros = np.broadcast_to(np.uint8(0), shape)
    if kind == "tiff":
        file = tiff(zeros, compression="zlib", tile=(4000, 4000))
    elif kind == "png":
        head = struct.pack(">IIBBBBB", *shape[::-1], 8, 0, 0, 0, 0)
        chunk = struct.pack(">I4s13sI", 13, b"IHDR", head, zlib.crc32(b"IHDR" + head))
        file = io.BytesIO(b"\x89PNG\r\n\x1a\n" + chunk + b"\0" * 40)
    else:
        planes = (2, *shape) if kind == "planes" else shape
        header = io.BytesIO()
        about = {"descr": "|u1", "fortran_order": False, "shape": planes}
        np.lib.format.write_array_header_1_0(header, about)
        file = header
        if kind == "npz":
            file = io.BytesIO()
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("labels.npy", header.getvalue())

    def refuse(found):
        assert found == shape
        raise BadInput("truth", expected="shape (5, 5)", found=f"{found}")

    tracemalloc.start()
    with pytest.raises(BadInput, match=r"expected shape \(5, 5\)"):
        read_truth(file, "m", check_shape=refuse)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 << 20


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
