"""OME-Zarr of others: 0.4 in Zarr 2 as 0.5 in Zarr v3; each field of a plate is an image."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorstore as ts

from cellmill.errors import BadInput
from cellmill.io.images import open_image, read_image
from cellmill.io.items import find_items, parse_items

RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 4000, (2, 70, 50), dtype=np.uint16)
MICRONS = "micrometer"


def write_group(folder, attributes, version):
    folder.mkdir(parents=True, exist_ok=True)
    if version == "0.4":
        (folder / ".zgroup").write_text('{"zarr_format": 2}')
        (folder / ".zattrs").write_text(json.dumps(attributes))
        return
    about = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": attributes}}
    (folder / "zarr.json").write_text(json.dumps(about))


def write_image(folder, version="0.4", pixels=PIXELS, unit=MICRONS, array=None, **about):
    """An image `(C, Y, X)` of two levels, as other programs write it."""
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": a, "type": "space", **({"unit": unit} if unit else {})} for a in "yx"]
    levels = [
        {
            "path": f"{level}",
            "coordinateTransformations": [
                {"type": "scale", "scale": [1, 0.25 * 2**level, 0.5 * 2**level]}
            ],
        }
        for level in range(2)
    ]
    said = {"axes": axes, "datasets": levels}
    ome = {"multiscales": [said | ({"version": "0.4"} if version == "0.4" else {})], **about}
    write_group(folder, ome if version == "0.4" else {"version": version, **ome}, version)
    for level in range(2):
        stored = pixels[:, :: 2**level, :: 2**level]
        spec = {"kvstore": {"driver": "file", "path": f"{folder}/{level}/"}, "create": True}
        if version == "0.4":
            metadata = {"chunks": [1, 32, 32], "dtype": pixels.dtype.str, **(array or {})}
            spec |= {"driver": "zarr", "metadata": {**metadata, "shape": stored.shape}}
        else:
            grid = {"name": "regular", "configuration": {"chunk_shape": [1, 32, 32]}}
            metadata = {"chunk_grid": grid, "data_type": pixels.dtype.name, "shape": stored.shape}
            spec |= {"driver": "zarr3", "metadata": metadata}
        ts.open(spec).result().write(stored).result()


def write_plate(folder, version, wells=("A/1", "B/2"), fields=2):
    write_group(
        folder,
        {"plate": {"wells": [{"path": well} for well in wells]}, "version": version},
        version,
    )
    for number, well in enumerate(wells):
        images = [{"path": f"{field}"} for field in range(fields)]
        write_group(folder / well, {"well": {"images": images}, "version": version}, version)
        for field in range(fields):
            write_image(folder / well / f"{field}", version, PIXELS + number * 10 + field)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("within", ["", "0"])
def test_either_version_is_read_alike(tmp_path, version, within):
    omero = {"channels": [{"label": "DAPI"}, {"label": "CD8"}]}
    write_image(tmp_path / "a.ome.zarr" / within, version, omero=omero)
    if within:
        write_group(tmp_path / "a.ome.zarr", {"bioformats2raw.layout": 3}, version)
    image = read_image(tmp_path / "a.ome.zarr")
    np.testing.assert_array_equal(image.pixels, np.moveaxis(PIXELS, 0, -1))
    assert (image.channels, image.mpp) == (("DAPI", "CD8"), (0.25, 0.5))
    assert (image.mpp_source, image.remarks) == ("OME-Zarr", ())
    image = read_image(tmp_path / "a.ome.zarr", channels="CD8", target_mpp=1.0)
    np.testing.assert_array_equal(image.pixels[..., 0], PIXELS[1, ::2, ::2])
    assert image.mpp == (0.5, 1.0)


@pytest.mark.parametrize(
    "array",
    [
        {"dimension_separator": "/"},
        {"dimension_separator": "."},
        {"dtype": ">u2"},
        {"order": "F"},
        {"compressor": None},
        {"compressor": {"id": "zlib", "level": 1}},
        {"compressor": {"id": "zstd", "level": 1}},
        {"compressor": {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1}},
    ],
)
def test_arrays_of_zarr_2_are_read_however_they_are_stored(tmp_path, array):
    write_image(tmp_path / "a.zarr", array=array)
    image = read_image(tmp_path / "a.zarr")
    np.testing.assert_array_equal(image.pixels, np.moveaxis(PIXELS, 0, -1))
    assert image.pixels.dtype == np.uint16


def test_a_pixel_size_in_no_length_is_said(tmp_path):
    write_image(tmp_path / "a.zarr", unit="")
    with open_image(tmp_path / "a.zarr") as image:
        assert image.mpp is None
        assert image.remarks == ("OME-Zarr gives pixels of 0.25 × 0.5 in no unit",)
    write_image(tmp_path / "b.zarr", unit="parsec")
    with open_image(tmp_path / "b.zarr") as image:
        assert image.remarks == ("OME-Zarr gives pixels of 0.25 × 0.5 in 'parsec'",)
    with open_image(tmp_path / "b.zarr", mpp=0.3) as image:
        assert (image.mpp, image.remarks) == ((0.3, 0.3), ())


def test_older_and_damaged_ones_are_one_line(tmp_path):
    write_group(tmp_path / "a.zarr", {"multiscales": [{"version": "0.1"}]}, "0.4")
    with pytest.raises(BadInput, match=r"expected OME-Zarr 0.5 or 0.4, found version 0.1"):
        read_image(tmp_path / "a.zarr")
    for content in (b"[1]", b"{", b"\xff"):
        (tmp_path / "a.zarr/.zattrs").write_bytes(content)
        with pytest.raises(BadInput, match=r"^image .*expected an OME-Zarr 0.5 or 0.4 image"):
            read_image(tmp_path / "a.zarr")
    for scales in ([], [1], [{"axes": []}], [{"axes": [{"name": "y"}]}], {}):
        write_group(tmp_path / "a.zarr", {"multiscales": scales}, "0.4")
        with pytest.raises(BadInput, match=r"expected OME-Zarr 0.4 metadata"):
            read_image(tmp_path / "a.zarr")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_each_field_of_a_plate_is_an_image(tmp_path, version):
    write_plate(tmp_path / "plates" / "p1.ome.zarr", version)
    write_image(tmp_path / "plates" / "alone.zarr", version)
    expected = {
        f"p1_{well}_{field}": PIXELS + number * 10 + field
        for number, well in enumerate(("A_1", "B_2"))
        for field in range(2)
    }
    for pattern, more in (
        ("plates/p1.ome.zarr", {}),
        ("plates/p*.zarr", {}),
        ("plates", {"alone": PIXELS}),
        ("**/*.zarr", {"alone": PIXELS}),
    ):
        found = find_items(str(tmp_path / pattern)).items
        assert {item.name for item in found} == {*expected, *more}
        for item in found:
            pixels = (expected | more)[item.name]
            np.testing.assert_array_equal(read_image(item.image).pixels, np.moveaxis(pixels, 0, -1))
    by_hand = parse_items([str(tmp_path / "plates" / "p1.ome.zarr")])
    assert {item.name for item in by_hand} == set(expected)
    with pytest.raises(BadInput, match="found a plate"):
        read_image(tmp_path / "plates" / "p1.ome.zarr")


def test_a_well_that_is_lost_is_listed_and_one_that_leads_out_is_no_well(tmp_path):
    write_plate(tmp_path / "p.zarr", "0.4")
    write_group(tmp_path / "p.zarr", {"plate": {"wells": [{"path": "C/9"}]}}, "0.4")
    (item,) = find_items(str(tmp_path / "p.zarr")).items
    assert item.image.endswith("p.zarr/C/9")
    with pytest.raises(BadInput, match=r"OME-Zarr 0\.5 or 0\.4 image, found none"):
        read_image(item.image)
    write_group(tmp_path / "p.zarr", {"plate": {"wells": [{"path": "../secret"}]}}, "0.4")
    (item,) = find_items(str(tmp_path / "p.zarr")).items
    assert item.image.endswith("p.zarr")


def test_a_plate_goes_through_the_stage_that_opens_images(tmp_path):
    write_plate(tmp_path / "p.zarr", "0.4", wells=("A/1",), fields=2)
    command = [sys.executable, "-m", "cellmill", "tiff_to_npz", "--items", f"{tmp_path}/p.zarr"]
    command += ["--channels", "0", "--images", f"{tmp_path}/i", "--truth", f"{tmp_path}/t"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "i/manifest.json").read_text())
    names = [entry["name"] for entry in manifest["entries"]]
    assert names == ["p_A_1_0", "p_A_1_1"]
