"""However an image is stored, its pixels come back; only what is asked for is read."""

import io
import math
import struct
import tracemalloc

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmill.errors import BadInput
from cellmill.io.tiff.layout import open_image
from cellmill.io.tiff.read import is_grey, read_channels
from tests.io.tiff.images import noise, read, tiff


class CountingFile(io.BytesIO):
    bytes_read = 0

    def read(self, size=-1):
        data = super().read(size)
        self.bytes_read += len(data)
        return data

    def readinto(self, buffer):
        count = super().readinto(buffer)
        self.bytes_read += count
        return count


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rowsperstrip": 7},
        {"tile": (32, 48)},
        {"compression": "zlib", "predictor": True},
        {"compression": "lzw", "rowsperstrip": 10},
        {"compression": "zstd", "tile": (64, 16)},
        {"compression": "lzma"},
        {"compression": "packbits"},
    ],
    ids=str,
)
def test_storage(dtype, byteorder, bigtiff, options):
    data = noise((101, 75), dtype)
    file = tiff(data, byteorder=byteorder, bigtiff=bigtiff, photometric="minisblack", **options)
    assert np.array_equal(read(file)[..., 0], data)


@pytest.mark.parametrize(
    ("compression", "dtype"),
    [
        ("jpeg2000", "uint16"),
        ("png", "uint16"),
        ("jpegxl", "uint8"),
        ("lerc", "float32"),
        ("deflate", "uint8"),
        ("jpegxr", "uint16"),
    ],
)
def test_lossless_codecs(compression, dtype):
    data = noise((80, 64), dtype)
    options = {"compressionargs": {"lossless": True}} if compression == "jpegxl" else {}
    file = tiff(data, compression=compression, tile=(32, 32), photometric="minisblack", **options)
    assert np.array_equal(read(file)[..., 0], data)


def test_jpeg_tiles_decode_as_tifffile_decodes_them():
    data = noise((80, 64), "uint8")
    file = tiff(data, compression="jpeg", tile=(32, 32), photometric="minisblack")
    expected = tifffile.imread(io.BytesIO(file.getvalue()))
    assert np.array_equal(read(file)[..., 0], expected)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.fixed_dictionaries({a: st.integers(1, 3) for a in "TZC"}),
    order=st.permutations("TZC"),
    # Stacks of 1-pixel rows are stored by tifffile as other shapes than those asked for.
    shape=st.tuples(st.integers(2, 70), st.integers(2, 70)),
    tiled=st.booleans(),
    compressed=st.booleans(),
    kind=st.sampled_from(["ome", "imagej", "shaped"]),
    data=st.data(),
)
def test_any_hyperstack(sizes, order, shape, tiled, compressed, kind, data):
    axes = "TZC" if kind == "imagej" else "".join(order)
    array = np.arange(math.prod(sizes.values()) * math.prod(shape)) % 65521
    array = array.astype("uint16").reshape(*(sizes[a] for a in axes), *shape)
    options = {"metadata": {"axes": f"{axes}YX"}, "photometric": "minisblack"}
    if kind == "imagej":
        options["imagej"] = True
    else:
        options["ome"] = kind == "ome"
        if tiled:
            options["tile"] = (16, 32)
        if compressed:
            options["compression"] = "zlib"
    pick = {a: data.draw(st.integers(0, n - 1)) for a, n in sizes.items()}
    asked = {a.lower(): pick[a] for a in "ZT" if sizes[a] > 1 or data.draw(st.booleans())}
    out = read(tiff(array, **options), [pick["C"]], **asked)
    assert np.array_equal(out[..., 0], array[tuple(pick[a] for a in axes)])


@pytest.mark.parametrize("options", [{}, {"tile": (64, 64)}, {"compression": "zlib"}])
def test_only_the_pages_of_a_channel_are_read(options):
    data = noise((20, 256, 256))
    file = CountingFile(tiff(data, photometric="minisblack", **options).getvalue())
    out = read(file, [13])
    assert np.array_equal(out[..., 0], data[13])
    assert file.bytes_read < 1.2 * data[0].nbytes + 20_000


def test_channels_in_any_order_and_twice():
    data = noise((4, 30, 40))
    file = tiff(data, photometric="minisblack", metadata={"axes": "CYX"})
    assert np.array_equal(read(file, [3, 0, 3]), np.moveaxis(data[[3, 0, 3]], 0, -1))


def test_pages_without_metadata_are_channels_unless_asked_for_as_z_or_t():
    data = noise((3, 30, 40))
    file = tiff(data, photometric="minisblack", metadata=None)
    assert np.array_equal(read(file, [2])[..., 0], data[2])
    assert np.array_equal(read(file, [0], z=1)[..., 0], data[1])
    assert np.array_equal(read(file, [0], t=2)[..., 0], data[2])
    with open_image(file, "a.tif") as image:
        assert image.unexplained
        assert image.channels == ("0", "1", "2")


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("options", [{}, {"tile": (16, 16), "compression": "lzw"}])
def test_colour(planar, options):
    data = noise((50, 40, 3), "uint8")
    stored = data if planar == "contig" else np.moveaxis(data, -1, 0)
    file = tiff(stored, photometric="rgb", planarconfig=planar, **options)
    with open_image(file, "a.tif") as image:
        assert image.colour
        assert image.channels == ("R", "G", "B")
        assert not is_grey(image)
    assert np.array_equal(read(file, [2, 0]), data[..., [2, 0]])
    grey = np.repeat(data[..., :1], 3, axis=-1)
    grey = grey if planar == "contig" else np.moveaxis(grey, -1, 0)
    with open_image(tiff(grey, photometric="rgb", planarconfig=planar, **options), "a") as image:
        assert is_grey(image)


def test_alpha_is_a_channel_that_grey_does_not_ask():
    data = np.dstack([noise((50, 40), "uint8")] * 3 + [noise((50, 40), "uint8")])
    with open_image(tiff(data, photometric="rgb", extrasamples=["unassalpha"]), "a.tif") as image:
        assert image.channels == ("R", "G", "B", "A")
        assert is_grey(image)


def test_samples_side_by_side_that_are_no_colours_are_channels():
    data = noise((50, 40, 5))
    file = tiff(data, photometric="minisblack", planarconfig="contig", metadata=None)
    with open_image(file, "a.tif") as image:
        assert not image.colour
        assert image.channels == ("0", "1", "2", "3", "4")
    assert np.array_equal(read(file, [4, 1]), data[..., [4, 1]])


def test_volumes_within_a_page():
    data = noise((5, 48, 64))
    file = tiff(data, volumetric=True, tile=(2, 16, 16), photometric="minisblack")
    for z in range(5):
        assert np.array_equal(read(file, z=z)[..., 0], data[z])


def test_imagej_stack_with_one_directory():
    data = noise((2, 3, 20, 30))
    file = tiff(data, imagej=True, truncate=True, metadata={"axes": "ZCYX"})
    with tifffile.TiffFile(file) as tif:
        assert len(tif.pages) == 1
    assert np.array_equal(read(file, [2], z=1)[..., 0], data[1, 2])


def test_imagej_stack_above_4_gb(tmp_path):
    """One directory, then all planes in a row: what ImageJ writes where offsets overflow."""
    side, planes = 2048, 1100
    description = f"ImageJ=1.54f\nimages={planes}\nslices={planes}\nloop=false\n\0".encode()
    tags = [
        (256, 3, 1, side),
        (257, 3, 1, side),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (270, 2, len(description), 200),
        (273, 4, 1, 400),
        (277, 3, 1, 1),
        (278, 3, 1, side),
        (279, 4, 1, side * side),
    ]
    path = tmp_path / "big.tif"
    with path.open("wb") as file:
        file.write(struct.pack(">2sHLH", b"MM", 42, 8, len(tags)))
        for code, kind, count, value in tags:
            file.write(struct.pack(">HHL", code, kind, count))
            file.write(
                struct.pack(">HH" if kind == 3 else ">L", value, *([0] if kind == 3 else []))
            )
        file.write(struct.pack(">L", 0))
        file.seek(200)
        file.write(description)
        last = noise((side, side), "uint8")
        file.seek(400 + (planes - 1) * side * side)
        file.write(last.tobytes())
    assert path.stat().st_size > 2**32
    with path.open("rb") as file:
        assert np.array_equal(read(file, z=planes - 1)[..., 0], last)
        assert not read(file, z=5).any()


@pytest.mark.parametrize("dtype", ["int8", "int16", "float16", "uint32", "int32", "int64"])
def test_other_integers_and_floats_become_float32_unchanged(dtype):
    data = (noise((30, 20), "int8") & (127 if dtype == "uint32" else -1)).astype(dtype)
    out = read(tiff(data, photometric="minisblack"))
    assert out.dtype == np.float32
    assert np.array_equal(out[..., 0], data.astype(np.float64))


def test_bilevel_is_read_as_0_and_1():
    data = noise((30, 20), "uint8") > 127
    out = read(tiff(data, photometric="minisblack"))
    assert out.dtype == np.uint8
    assert np.array_equal(out[..., 0], data)


@pytest.mark.parametrize("dtype", ["uint32", "int32", "uint64", "int64"])
def test_integers_that_float32_cannot_hold_are_refused_with_a_count(dtype):
    data = np.full((30, 20), 2**24, dtype)
    assert np.array_equal(read(tiff(data, photometric="minisblack"))[..., 0], data)
    data[3, :5] = 2**24 + 1
    with pytest.raises(BadInput, match=r"5 .*int.* pixels that it cannot"):
        read(tiff(data, photometric="minisblack"))


def test_float64_is_rounded_unless_it_overflows():
    data = noise((30, 20), "float64")
    assert np.array_equal(read(tiff(data, photometric="minisblack"))[..., 0], data.astype("f4"))
    data[1, 1] = 1e300
    with pytest.raises(BadInput, match="1 float64 pixels"):
        read(tiff(data, photometric="minisblack"))


def test_complex_pixels_are_refused():
    with pytest.raises(BadInput, match="found complex64"):
        read(tiff(np.zeros((3, 4), "complex64"), photometric="minisblack"))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_nan_and_infinity_are_refused_with_a_count(dtype):
    data = noise((40, 30), dtype)
    data[5, :7], data[39, 29] = np.nan, np.inf
    file = tiff(data, photometric="minisblack", rowsperstrip=8, compression="zlib")
    with pytest.raises(BadInput, match="8 pixels that are NaN or infinite"):
        read(file)


def test_tiles_without_bytes_are_zero():
    data = np.zeros((64, 64), "uint16")
    data[:32] = noise((32, 64))
    tiles = iter([data[:32, :32], data[:32, 32:], None, None])
    file = tiff(tiles, shape=data.shape, dtype=data.dtype, tile=(32, 32), compression="zlib")
    assert np.array_equal(read(file)[..., 0], data)


def test_memory_stays_at_two_bands_and_some_tiles(tmp_path):
    path = tmp_path / "a.tif"
    data = np.zeros((8192, 2048), "uint16")
    data[::7] = 9
    tifffile.imwrite(path, data, tile=(256, 256), compression="zlib")
    out = np.memmap(tmp_path / "out", "uint16", "w+", shape=(*data.shape, 1))
    with path.open("rb") as file, open_image(file, "a.tif") as image:
        tracemalloc.start()
        read_channels(image, [0], out)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert np.array_equal(out[..., 0], data)
    assert peak < 0.6 * data.nbytes


def test_one_pixel():
    assert read(tiff(np.array([[7]], "uint8")))[0, 0, 0] == 7


def test_a_colour_table_is_no_obstacle():
    data = noise((20, 30), "uint8")
    table = np.repeat(np.arange(256, dtype="uint16")[None] * 257, 3, axis=0)
    file = tiff(data, photometric="palette", colormap=table)
    assert np.array_equal(read(file)[..., 0], data)
