"""labels.tif opens anywhere, says its scale, and is the same bytes for the same labels."""

import hashlib
import io
import tracemalloc
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile

from cellmill.errors import BadInput
from cellmill.tiff.layout import open_image
from cellmill.tiff.read import read_channels
from cellmill.tiff.write import write_labels

OME = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"
RNG = np.random.default_rng(3)
CELLS = np.kron(RNG.integers(0, 90, (70, 61)), np.ones((10, 11), int)).astype(np.int32)
NUCLEI = np.where(RNG.random(CELLS.shape) > 0.5, CELLS, 0).astype(np.int32)


def written(labels=(CELLS,), names=("whole_cell",), **options):
    file = io.BytesIO()
    write_labels(file, labels, names, **options)
    file.seek(0)
    return file


@pytest.mark.parametrize("dtype", ["int32", "uint16"])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (512, 512), (513, 1025), (700, 671)])
def test_pixels_and_dtype(dtype, shape):
    labels = RNG.integers(0, 60_000, shape).astype(np.int32)
    file = written([labels], dtype=dtype)
    with tifffile.TiffFile(io.BytesIO(file.getvalue())) as tif:
        assert tif.is_ome
        assert tif.series[0].axes == "YX"
        assert tif.series[0].dtype == dtype
        assert np.array_equal(tif.asarray(), labels)
        page = tif.pages[0]
        assert page.is_tiled
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert len(tif.pages) == 1


def test_both_compartments():
    file = written([CELLS, NUCLEI], ("whole_cell", "nuclear"), mpp=(0.5, 0.25), image_name="a")
    with tifffile.TiffFile(io.BytesIO(file.getvalue())) as tif:
        assert tif.series[0].axes == "CYX"
        assert len(tif.series) == 1
        assert np.array_equal(tif.asarray(), np.stack([CELLS, NUCLEI]))
        page = tif.pages[0]
        assert page.get_resolution("MICROMETER") == pytest.approx((4, 2))
    with open_image(file, "labels.tif") as image:
        assert image.channels == ("whole_cell", "nuclear")
        assert image.mpp == (0.5, 0.25)
        assert image.mpp_source == "OME-XML"
        out = np.zeros((*image.shape, 2), image.stored_dtype)
        read_channels(image, [0, 1], out)
        assert np.array_equal(out, np.stack([CELLS, NUCLEI], axis=-1))


def test_ome_xml_has_what_the_schema_asks_for():
    file = written(
        [CELLS, NUCLEI], ("whole_cell", "nuclear"), mpp=(0.5, 0.25), image_name='ä "<µ\x07'
    )
    xml = tifffile.tiffcomment(file)
    assert xml.isascii()
    root = ElementTree.fromstring(xml)
    assert root.tag == f"{OME}OME"
    image = root.find(f"{OME}Image")
    assert image.get("Name") == 'ä "<µ_'
    pixels = image.find(f"{OME}Pixels")
    assert pixels.attrib == {
        "ID": "Pixels:0",
        "DimensionOrder": "XYCZT",
        "Type": "int32",
        "BigEndian": "false",
        "Interleaved": "false",
        "SizeX": "671",
        "SizeY": "700",
        "SizeC": "2",
        "SizeZ": "1",
        "SizeT": "1",
        "PhysicalSizeX": "0.25",
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": "0.5",
        "PhysicalSizeYUnit": "µm",
    }
    # The schema's order: channels, then where their planes are.
    assert [child.tag.removeprefix(OME) for child in pixels] == ["Channel"] * 2 + ["TiffData"] * 2


def test_an_unknown_scale_is_not_said():
    file = written()
    assert "PhysicalSize" not in tifffile.tiffcomment(file)
    with open_image(file, "labels.tif") as image:
        assert image.mpp is None


def test_the_same_labels_give_the_same_bytes():
    first = written(mpp=(0.5, 0.5), image_name="a").getvalue()
    assert first == written(mpp=(0.5, 0.5), image_name="a").getvalue()
    assert tifffile.__version__.encode() not in first
    with tifffile.TiffFile(io.BytesIO(first)) as tif:
        assert "DateTime" not in tif.pages[0].tags


def test_other_labels_or_another_scale_have_another_uuid():
    other = CELLS.copy()
    other[-1, -1] += 1
    uuids = {
        ElementTree.fromstring(tifffile.tiffcomment(file)).get("UUID")
        for file in (
            written(),
            written([other]),
            written(mpp=(0.5, 0.5)),
            written(dtype="uint16"),
            written(image_name="b"),
        )
    }
    assert len(uuids) == 5
    assert all(u.startswith("urn:uuid:") for u in uuids)


@pytest.mark.parametrize(("dtype", "label"), [("uint16", 65536), ("int32", 2**31)])
def test_labels_that_do_not_fit_are_refused(dtype, label):
    labels = np.zeros((600, 600), np.int64)
    labels[599, 599] = label - 1
    written([labels], dtype=dtype)
    labels[599, 599] = label
    with pytest.raises(BadInput, match=f"which fit {dtype}, found label {label}"):
        written([labels], dtype=dtype)
    labels[599, 599] = -1
    with pytest.raises(BadInput, match="found label -1"):
        written([labels], dtype=dtype)


@pytest.mark.parametrize(
    "labels",
    [[CELLS.astype(float)], [CELLS[None]], [CELLS, CELLS[1:]], [CELLS[:0]]],
)
def test_what_is_no_label_image_is_refused(labels):
    with pytest.raises(BadInput):
        written(labels, ("a", "b"))


def test_a_memory_map_is_not_copied(tmp_path):
    labels = np.memmap(tmp_path / "labels", np.int32, "w+", shape=(4096, 2048))
    labels[::5] = 7
    tracemalloc.start()
    digest = hashlib.sha256(written([labels]).getvalue()).hexdigest()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert digest
    assert peak < 0.6 * labels.nbytes
