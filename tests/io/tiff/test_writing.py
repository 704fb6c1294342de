"""labels.tif opens anywhere, says its scale, and is the same bytes for the same labels."""

import hashlib
import io
import tracemalloc
from xml.etree import ElementTree

import numpy as np
import pytest
import skimage.io
import tifffile

from cellmill.errors import BadInput
from cellmill.io.tiff.layout import open_image
from cellmill.io.tiff.read import read_channels
from cellmill.io.tiff.write import write_label_images

OME = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"
RNG = np.random.default_rng(3)
CELLS = np.kron(RNG.integers(0, 90, (70, 61)), np.ones((10, 11), int)).astype(np.int32)
NUCLEI = np.where(RNG.random(CELLS.shape) > 0.5, CELLS, 0).astype(np.int32)


def written(labels=(CELLS,), names=("whole_cell",), **options):
    file = io.BytesIO()
    write_label_images(file, labels, names, **options)
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


@pytest.mark.parametrize("shape", [(1025, 3), (2600, 1700), (700, 4099)])
@pytest.mark.parametrize("dtype", ["int32", "uint16"])
def test_a_large_image_has_a_pyramid_of_every_second_pixel(tmp_path, shape, dtype):
    labels = [RNG.integers(0, 60_000, shape).astype(np.int64) for _ in range(2)]
    file = written(labels, ("whole_cell", "nuclear"), dtype=dtype, mpp=(0.5, 0.5))
    with tifffile.TiffFile(file) as tif:
        (series,) = tif.series
        assert len(tif.pages) == 2
        assert len(series.levels) == (3 if max(shape) > 2048 else 2) + (max(shape) > 4096)
        for power, level in enumerate(series.levels):
            step = 2**power
            expected = np.stack([array[::step, ::step] for array in labels])
            assert np.array_equal(level.asarray(), expected)
            assert level.keyframe.get_resolution("MICROMETER") == pytest.approx((2 / step,) * 2)
        assert max(series.levels[-1].shape) <= 1024
    (tmp_path / "labels.tif").write_bytes(file.getvalue())
    assert np.array_equal(skimage.io.imread(tmp_path / "labels.tif"), np.stack(labels))


@pytest.mark.parametrize("shape", [(1024, 1024), (7, 5), (1, 1024)])
def test_a_small_image_has_none(shape):
    with tifffile.TiffFile(written([np.ones(shape, np.int32)])) as tif:
        assert len(tif.series[0].levels) == 1
        assert tif.pages[0].subifds is None


@pytest.mark.parametrize("threads", ["1", "5"])
def test_bytes_do_not_depend_on_threads_or_memory(monkeypatch, threads):
    labels = np.kron(RNG.integers(0, 9000, (90, 130)), np.ones((21, 17), int))
    expected = written([labels]).getvalue()
    monkeypatch.setenv("CELLMILL_THREADS", threads)
    assert written([labels], memory_mib=300).getvalue() == expected


def test_memory_does_not_grow_with_the_height(tmp_path):
    class Tall:
        """Labels that are made when they are read."""

        dtype = np.dtype(np.int32)

        def __init__(self, height):
            self.shape = (height, 1400)

        def __getitem__(self, window):
            y, x = (
                np.arange(s.start, min(s.stop, n)) for s, n in zip(window, self.shape, strict=True)
            )
            return ((y[:, None] // 9 * 200 + x // 7) % 30_000).astype(np.int32)

    def peak(height):
        tracemalloc.start()
        with (tmp_path / "tall.tif").open("wb+") as file:
            write_label_images(file, [Tall(height)], ["nuclear"])
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(600)
    assert peak(20_000) - peak(2_000) < 8 << 20  # of 100 MB


def test_too_little_memory_for_the_width_is_said():
    labels = np.broadcast_to(np.int32(1), (3, 2_000_000))
    with pytest.raises(BadInput, match=r"memory_mib: expected \d+ or more for labels 2,000,000 px"):
        written([labels])


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
    [[CELLS.astype(float)], [CELLS[None, None]], [CELLS, CELLS[1:]], [CELLS[:0]]],
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
