"""A tag that says what the pixels are is read, or the file is refused: it is never left out."""

import contextlib
import io
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmill.errors import BadInput
from cellmill.io.tiff.layout import open_image
from cellmill.io.tiff.read import read_channels
from cellmill.io.tiff.stored import check_complete
from tests.io.tiff.images import changed_tag, noise, one_directory

DATA = noise((3, 96, 80))
COLOUR = noise((64, 48, 3), "uint8")
#: name of a file: its bytes, and what is in it
FILES = {}


def add(name, data, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, data, **{"photometric": "minisblack", "metadata": None, **options})
    FILES[name] = file.getvalue(), data


add("strips", DATA, rowsperstrip=16)
add("tiles", DATA, tile=(32, 32), compression="zlib", predictor=True)
add("lzw", DATA, compression="lzw", predictor=True, rowsperstrip=16)
add("floats", DATA.astype("float32"), compression="zstd", predictor=True, tile=(16, 16))
add("colour", COLOUR[None], photometric="rgb", rowsperstrip=16)
add("separate", np.moveaxis(COLOUR, -1, 0)[None], photometric="rgb", planarconfig="separate")
add("pyramid", DATA[:1], tile=(16, 16))

#: Tags without which, or with others of which, other pixels would be read.
STRUCTURAL = {
    256: "ImageWidth",
    257: "ImageLength",
    258: "BitsPerSample",
    259: "Compression",
    262: "PhotometricInterpretation",
    273: "StripOffsets",
    277: "SamplesPerPixel",
    278: "RowsPerStrip",
    279: "StripByteCounts",
    284: "PlanarConfiguration",
    317: "Predictor",
    322: "TileWidth",
    323: "TileLength",
    324: "TileOffsets",
    325: "TileByteCounts",
    338: "ExtraSamples",
    339: "SampleFormat",
}


def read(content):
    with open_image(io.BytesIO(content), "a.tif") as image:
        check_complete(image, range(len(image.channels)))
        out = np.zeros((*image.shape, len(image.channels)), image.stored_dtype)
        read_channels(image, range(len(image.channels)), out)
        return out


def as_read(data):
    """What is read of data as it was written: channels last."""
    if data.shape[0] == 1:
        data = data[0]
    return data[..., None] if data.ndim == 2 else np.moveaxis(data, int(np.argmin(data.shape)), -1)


def tags_of(content):
    with tifffile.TiffFile(io.BytesIO(content)) as tif:
        return [(p, t.code) for p in range(len(tif.pages)) for t in tif.pages[p].tags]


@pytest.mark.parametrize("name", FILES)
def test_whole_files_are_read(name):
    content, data = FILES[name]
    assert np.array_equal(read(content), as_read(data))


@pytest.mark.parametrize(
    "change",
    [
        {"kind": 0},
        {"kind": 14},
        {"kind": 99},
        {"kind": 5},
        {"kind": 11},
        {"count": 2**31},
        {"count": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", FILES)
def test_an_unreadable_tag_is_named_with_its_page(name, change):
    content, _ = FILES[name]
    for page, code in tags_of(content):
        if code not in STRUCTURAL:
            continue
        if code == 262 and change.get("kind") in (5, 11):
            continue
        with pytest.raises(BadInput) as error:
            read(changed_tag(content, code, page=page, **change))
        message = str(error.value)
        assert "\n" not in message
        assert STRUCTURAL[code] in message, message
        assert f"page {page + 1}" in message, message


@settings(max_examples=400, deadline=None)
@given(
    name=st.sampled_from(sorted(FILES)),
    which=st.integers(0, 1000),
    kind=st.sampled_from([None, 0, 1, 2, 3, 4, 5, 7, 11, 13, 16, 200]),
    count=st.sampled_from([None, 0, 1, 2, 3, 7, 2**16, 2**31]),
    value=st.one_of(st.none(), st.integers(0, 40), st.sampled_from([2**16, 2**31, 2**32 - 1])),
)
def test_a_changed_tag_is_refused_or_makes_no_difference(name, which, kind, count, value):
    """Whatever a tag is changed to, the pixels are those that were written, or there are none."""
    content, data = FILES[name]
    tags = [each for each in tags_of(content) if each[1] in STRUCTURAL]
    page, code = tags[which % len(tags)]
    # What these say can be any number: other pixels then are what the file says.
    if code in (273, 324) and kind is None and count is None:
        return
    found = None
    with contextlib.suppress(BadInput):
        found = read(changed_tag(content, code, page=page, kind=kind, count=count, value=value))
    if found is None:
        return
    meaning = {258, 262, 284, 317, 338, 339, 277}
    if code in meaning and value is not None:
        # Another meaning of the same bytes, on all pages alike, is what the file says.
        return
    # Nothing is said of these pages, so that one of another form is an image of its own.
    others = np.delete(data, page, 0)
    alike = [as_read(data)] + ([as_read(others)] if len(others) else [])
    assert any(np.array_equal(found, each) for each in alike)


@pytest.mark.parametrize("written_by", ["tifffile", "ome", "imagej", "nobody"])
@pytest.mark.parametrize("code", [256, 257, 258, 259, 278, 317, 339, 322])
def test_pages_of_one_image_are_stored_alike(code, written_by):
    """A page is decoded as its own tags say, or not at all; never as the first page's say."""
    options = {"photometric": "minisblack", "metadata": {"axes": "CYX"}}
    options[written_by if written_by in ("ome", "imagej") else "bigtiff"] = written_by != "tifffile"
    if written_by in ("tifffile", "nobody"):
        options["bigtiff"] = False
    if written_by == "nobody":
        options["metadata"] = None
    if written_by != "imagej":
        options |= {"compression": "zlib", "predictor": True, "tile": (32, 32)}
    file = io.BytesIO()
    tifffile.imwrite(file, DATA, **options)
    content = file.getvalue()
    if (1, code) not in tags_of(content):
        return
    with tifffile.TiffFile(io.BytesIO(content)) as tif:
        old = tif.pages[1].tags[code].value
    for value in {1, 2, 3, 8, 16, 32, 64} - {old}:
        changed = changed_tag(content, code, page=1, value=value)
        if written_by == "nobody" and code in (256, 257, 258, 259, 317, 339, 322):
            # Pages that nothing is said of and that are unlike are other images.
            found = None
            with contextlib.suppress(BadInput):
                found = read(changed)
            assert found is None or np.array_equal(found, as_read(DATA[[0, 2]]))
        else:
            with pytest.raises(BadInput):
                read(changed)


@pytest.mark.parametrize("code", [256, 258, 259, 277, 278, 317, 322])
def test_a_tag_that_stands_twice_is_refused(code):
    content = bytearray(FILES["tiles" if code == 322 else "lzw"][0])
    with tifffile.TiffFile(io.BytesIO(content)) as tif:
        tags = tif.pages[0].tags
        other = next(t for t in tags if t.code in (282, 283, 296, 305))
        at, instead = tags[code].offset, other.offset
    content[instead : instead + 12] = content[at : at + 12]
    with pytest.raises(BadInput, match="found it twice"):
        read(bytes(content))


def test_a_tag_that_does_not_matter_is_remarked_on():
    content, data = FILES["strips"]
    changed = changed_tag(content, 305, count=2**30)
    with open_image(io.BytesIO(changed), "a.tif") as image:
        assert image.remarks == ("cannot be read: tag Software",)
    assert np.array_equal(read(changed), as_read(data))


def page(stored, *, height=32, width=40, compression=1, rows=32, count=None, more=()):
    count = len(stored) if count is None else count
    tags = [
        *((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, compression)),
        *(
            (262, 3, 1, 1),
            (273, 4, 1, "data"),
            (277, 3, 1, 1),
            (278, 4, 1, rows),
            (279, 4, 1, count),
        ),
    ]
    return one_directory([*tags, *more], stored)


PIXELS = noise((32, 40), "uint8")


@pytest.mark.parametrize(
    ("compression", "packed"),
    [
        (1, bytes),
        (8, zlib.compress),
        (5, None),
        (32773, None),
        (50000, None),
        (34925, None),
    ],
)
def test_strips_longer_or_shorter_than_their_geometry_are_refused(compression, packed):
    if packed is None:
        names = {5: "lzw", 32773: "packbits", 50000: "zstd", 34925: "lzma"}
        packed = getattr(tifffile.tifffile.imagecodecs, f"{names[compression]}_encode")
    whole = PIXELS.tobytes()
    content = page(packed(whole), compression=compression)
    assert np.array_equal(read(content)[..., 0], PIXELS)
    for wrong in (whole[:-1], whole[:-40], whole + b"x", whole + whole[:40], whole[:7], whole * 2):
        with pytest.raises(BadInput, match=r"expected .*1280.* bytes.*, found "):
            read(page(packed(wrong), compression=compression))


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "png", "webp", "jpegxl", "lerc"])
def test_streams_of_another_size_than_their_tile_are_refused(compression):
    pixels = noise((32, 48, 3), "uint8")
    options = {"photometric": "rgb", "metadata": None, "compression": compression}

    def written(data):
        file = io.BytesIO()
        tifffile.imwrite(file, data, tile=data.shape[:2], **options)
        return file.getvalue()

    content = written(pixels)
    read(content)
    # The stream of as many pixels in another form, in the place of the right one.
    with tifffile.TiffFile(io.BytesIO(written(pixels.reshape(48, 32, 3)))) as tif:
        start, count = tif.pages[0].dataoffsets[0], tif.pages[0].databytecounts[0]
        tif.filehandle.seek(start)
        stream = tif.filehandle.read(count)
    changed = changed_tag(content, 324, value=len(content))
    changed = changed_tag(changed, 325, value=count) + stream
    with pytest.raises(BadInput, match="32 × 48 px in tile 1 of page 1, found a stream of 48 × 32"):
        read(changed)


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "png", "webp", "jpegxl", "lerc"])
@pytest.mark.parametrize("part", [0.5, 0.95])
def test_streams_that_are_cut_off_are_refused(compression, part):
    """Decoders of JPEG and JPEG 2000 make something up in the place of what is missing."""
    file = io.BytesIO()
    options = {"photometric": "rgb", "metadata": None, "compression": compression}
    tifffile.imwrite(file, noise((64, 64, 3), "uint8"), tile=(64, 64), **options)
    with tifffile.TiffFile(io.BytesIO(file.getvalue())) as tif:
        count = tif.pages[0].databytecounts[0]
    with pytest.raises(BadInput, match=r"^image '.*': expected .*, found "):
        read(changed_tag(file.getvalue(), 325, value=int(count * part)))


def test_a_strip_without_bytes_at_a_place_is_refused():
    with pytest.raises(BadInput, match="stored bytes in strip 1 of page 1, found 0 at byte"):
        read(page(zlib.compress(PIXELS.tobytes()), compression=8, count=0))


def test_turned_images_are_said_to_be():
    content = page(PIXELS.tobytes(), more=[(274, 3, 1, 6)])
    with open_image(io.BytesIO(content), "a.tif") as image:
        assert any("turned" in remark for remark in image.remarks)
