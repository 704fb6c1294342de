"""A file that is no whole TIFF is one line to the user: never a traceback, never wrong pixels."""

import io

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmill.errors import BadInput
from cellmill.io.tiff.layout import open_image
from cellmill.io.tiff.read import read_channels

DATA = np.random.default_rng(1).integers(0, 4000, (3, 90, 70), "uint16")
WRITERS = {
    "striped": {"rowsperstrip": 16, "metadata": {"axes": "CYX"}},
    "tiled": {"tile": (32, 32), "compression": "zlib", "metadata": {"axes": "CYX"}},
    "lzw": {"compression": "lzw", "predictor": True, "metadata": None},
    "ome": {"ome": True, "metadata": {"axes": "CYX"}},
    "ome tiled": {
        "ome": True,
        "tile": (64, 64),
        "compression": "zstd",
        "metadata": {"axes": "CYX"},
    },
    "imagej": {"imagej": True, "metadata": {"axes": "CYX"}},
    "one directory": {"imagej": True, "truncate": True, "metadata": {"axes": "CYX"}},
    "bigtiff": {"bigtiff": True, "metadata": None},
}


def written(**options):
    file = io.BytesIO()
    tifffile.imwrite(file, DATA, photometric="minisblack", **options)
    return file.getvalue()


FILES = {name: written(**options) for name, options in WRITERS.items()}


def read_all(content):
    with open_image(io.BytesIO(content), "a.tif") as image:
        out = np.zeros((*image.shape, len(image.channels)), image.dtype)
        read_channels(image, range(len(image.channels)), out)
        return out


@pytest.mark.parametrize("kind", FILES)
def test_whole_files_are_read(kind):
    assert np.array_equal(read_all(FILES[kind]), np.moveaxis(DATA, 0, -1))


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(sorted(FILES)), share=st.floats(0, 1, exclude_max=True))
def test_a_file_that_is_cut_off_is_refused_or_whole(kind, share):
    content = FILES[kind]
    message, found = "", None
    try:
        found = read_all(content[: int(share * len(content))])
    except BadInput as error:
        message = str(error)
    if found is None:
        assert "\n" not in message
        assert message.startswith("image 'a.tif': expected ")
    else:
        # What follows the last pixel (padding, an unused directory) may be missing.
        assert np.array_equal(found, np.moveaxis(DATA, 0, -1))


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(sorted(FILES)),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
    in_header=st.booleans(),
)
def test_changed_bytes_never_end_in_a_traceback(kind, changes, in_header):
    content = bytearray(FILES[kind])
    for place, value in changes:
        content[int(place * (400 if in_header else len(content)))] = value
    message = ""
    try:
        with open_image(io.BytesIO(bytes(content)), "a.tif") as image:
            if image.shape[0] * image.shape[1] * len(image.channels) > 1 << 24:
                return
            out = np.zeros((*image.shape, len(image.channels)), image.dtype)
            read_channels(image, range(len(image.channels)), out)
    except BadInput as error:
        message = str(error)
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty file"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 30, "a PNG image"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 30, "a JPEG image"),
        (b"PK\x03\x04" + b"\0" * 30, "a ZIP archive"),
        (b"<html><body>Sign in</body></html>", "a text"),
        (b"hello world, this is no image", "begins with b'hello wo'"),
        (b"II*\0", "found"),
        (b"II*\0\x08\0\0\0\0\0\0\0\0\0", "an image of 0 × 0"),
    ],
)
def test_other_files_are_named(content, found):
    with pytest.raises(BadInput, match=r"^image 'a.tif': expected ") as error:
        read_all(content)
    assert found in str(error.value)


@pytest.mark.parametrize(
    ("name", "begins", "found"),
    [
        ("plate 1/a.dcm", bytes(128) + b"DICM", "a DICOM file"),
        ("a.zvi", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an OLE file"),
        ("a.vsi", next(iter(FILES.values())), "Olympus VSI"),
        ("IM0001", bytes(128) + b"DICM", "a DICOM file"),
    ],
)
def test_of_an_instruments_own_format_the_line_says_which_command_converts(name, begins, found):
    with (
        pytest.raises(BadInput, match=r"which 'bioformats2raw .*\.zarr' makes of it") as error,
        open_image(io.BytesIO(begins + bytes(200)), name),
    ):
        pass
    assert found in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("suffix", "begins", "found"),
    [
        (".czi", b"ZISRAWFILE", "a Zeiss CZI file"),
        (".nd2", b"\xda\xce\xbe\x0a", "a Nikon ND2 file"),
        (".lif", b"\x70\0\0\0", "a Leica LIF file"),
        (".oib", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an OLE file"),
    ],
)
def test_a_microscopes_file_by_a_tiffs_name_is_told_its_own(suffix, begins, found):
    content = io.BytesIO(begins + bytes(200))
    with (
        pytest.raises(BadInput, match=rf"a name that ends in \{suffix}, found {found}"),
        open_image(content, "a.tif"),
    ):
        pass


def test_the_second_page_lost(caplog):
    content = FILES["lzw"]
    with tifffile.TiffFile(io.BytesIO(content)) as tif:
        second = tif.pages[1].offset
    with pytest.raises(BadInput, match="expected a whole, readable TIFF"):
        read_all(content[: second - 1])


def test_planes_that_the_ome_xml_promises_and_the_file_lacks():
    xml = tifffile.tiffcomment(io.BytesIO(FILES["ome"])).replace('SizeC="3"', 'SizeC="5"')
    file = io.BytesIO()
    tifffile.imwrite(file, DATA, description=xml.encode(), metadata=None, photometric="minisblack")
    with pytest.raises(BadInput, match="missing"):
        read_all(file.getvalue())


def test_a_codec_that_fails_is_one_line():
    content = bytearray(FILES["tiled"])
    with tifffile.TiffFile(io.BytesIO(content)) as tif:
        start = tif.pages[0].dataoffsets[2]
    content[start + 10 : start + 200] = bytes(190)
    with pytest.raises(BadInput, match=r"bytes that can be decoded in tile 3 of page 1, found"):
        read_all(bytes(content))


def test_an_image_without_pixels():
    file = io.BytesIO()
    tifffile.imwrite(file, DATA[0], photometric="minisblack", metadata=None)
    content = bytearray(file.getvalue())
    with tifffile.TiffFile(io.BytesIO(content)) as tif:
        at = tif.pages[0].tags["ImageLength"].valueoffset
    content[at : at + 4] = bytes(4)
    with pytest.raises(BadInput, match="expected"):
        read_all(bytes(content))
