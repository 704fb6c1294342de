"""Volumes: `z="all"` reads every focal plane, of files of any making, with its size per axis."""

import tracemalloc

import numpy as np
import pytest
import tensorstore as ts
import tifffile

from cellmill.errors import BadInput
from cellmill.io.images import open_image, read_image
from cellmill.io.tiff.axes import focal_plane
from tests.io.test_ome_zarr import write_group

RNG = np.random.default_rng(11)
#: Z, C, Y, X.
STACK = RNG.integers(0, 4000, (5, 2, 36, 40), dtype=np.uint16)
LAST = np.moveaxis(STACK, 1, -1)
MPP = (2.0, 0.25, 0.5)
OME = {
    "PhysicalSizeZ": 2000,
    "PhysicalSizeZUnit": "nm",
    "PhysicalSizeY": 0.25,
    "PhysicalSizeX": 0.5,
}


def write_ome(path, axes="ZCYX", **said):
    order = ["ZCYX".index(axis) for axis in axes]
    metadata = {"axes": axes, **OME, **said}
    tifffile.imwrite(path, STACK.transpose(order), ome=True, metadata=metadata)
    return path


def write_imagej(path, **said):
    about = {"axes": "ZCYX", "unit": "um", "spacing": 2.0, **said}
    tifffile.imwrite(path, STACK, imagej=True, resolution=(2, 4), metadata=about)
    return path


def write_zarr(folder, version, z_unit="micrometer"):
    """An image `(C, Z, Y, X)` of two levels, the second with half the planes, too."""
    units = {"z": z_unit, "y": "micrometer", "x": "micrometer"}
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": a, "type": "space", **({"unit": u} if u else {})} for a, u in units.items()]
    pixels = STACK.swapaxes(0, 1)
    levels = []
    for level in range(2):
        step = 2**level
        stored = pixels[:, ::step, ::step, ::step]
        scale = {"type": "scale", "scale": [1, *(size * step for size in MPP)]}
        levels.append({"path": f"{level}", "coordinateTransformations": [scale]})
        spec = {"kvstore": {"driver": "file", "path": f"{folder}/{level}/"}, "create": True}
        if version == "0.4":
            metadata = {"chunks": [1, 2, 16, 16], "dtype": "<u2", "shape": stored.shape}
            spec |= {"driver": "zarr", "metadata": metadata}
        else:
            grid = {"name": "regular", "configuration": {"chunk_shape": [1, 2, 16, 16]}}
            metadata = {"chunk_grid": grid, "data_type": "uint16", "shape": stored.shape}
            spec |= {"driver": "zarr3", "metadata": metadata}
        ts.open(spec).result().write(stored).result()
    said = {"multiscales": [{"version": version, "axes": axes, "datasets": levels}]}
    write_group(folder, said if version == "0.4" else {"version": version, **said}, version)
    return folder


WRITERS = {
    "OME-TIFF": lambda folder: write_ome(folder / "a.ome.tif"),
    "OME-TIFF, channels first": lambda folder: write_ome(folder / "a.ome.tif", "CZYX"),
    "ImageJ": lambda folder: write_imagej(folder / "a.tif"),
    "OME-Zarr 0.4": lambda folder: write_zarr(folder / "a.zarr", "0.4"),
    "OME-Zarr 0.5": lambda folder: write_zarr(folder / "a.zarr", "0.5"),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_volume_has_every_plane_and_a_size_per_axis(writer, tmp_path):
    path = WRITERS[writer](tmp_path)
    with open_image(path, z="all") as image:
        assert image.shape == (5, 36, 40)
    volume = read_image(path, z="all")
    assert np.array_equal(volume.pixels, LAST)
    assert volume.mpp == pytest.approx(MPP)
    one = read_image(path, channels=1, z="all")
    assert np.array_equal(one.pixels, LAST[..., 1:])
    for z in range(5):
        plane = read_image(path, z=z)
        assert np.array_equal(plane.pixels, LAST[z])
        assert plane.mpp == pytest.approx(MPP[1:])


def test_pages_of_which_nothing_is_said_are_focal_planes_where_a_volume_is_asked_for(tmp_path):
    path = tmp_path / "pages.tif"
    for plane in LAST[..., 0]:
        tifffile.imwrite(path, plane, append=True, metadata=None)
    volume = read_image(path, z="all")
    assert np.array_equal(volume.pixels, LAST[..., :1])
    assert volume.mpp is None
    known = read_image(path, z="all", mpp=0.5, z_step=3.0)
    assert (known.mpp, known.mpp_source) == ((3.0, 0.5, 0.5), "parameter")


def test_an_image_of_one_plane_is_a_volume_of_one(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", LAST[0, ..., 0])
    assert read_image(tmp_path / "a.tif", z="all").pixels.shape == (1, 36, 40, 1)


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: write_ome(folder / "a.ome.tif", PhysicalSizeZ=0),
        lambda folder: write_ome(folder / "a.ome.tif", PhysicalSizeZUnit="furlong"),
        lambda folder: write_imagej(folder / "a.tif", spacing=0),
        lambda folder: write_zarr(folder / "a.zarr", "0.5", z_unit=""),
    ],
)
def test_an_unknown_distance_of_planes_is_unknown_and_said(write, tmp_path):
    path = write(tmp_path)
    volume = read_image(path, z="all")
    assert volume.mpp is None
    assert any("z_step=…" in remark for remark in volume.remarks)
    told = read_image(path, z="all", z_step=1.5)
    assert told.mpp == pytest.approx((1.5, 0.25, 0.5))
    assert read_image(path, z=1).mpp == pytest.approx(MPP[1:])


def test_a_coarser_level_has_its_own_planes_and_distance(tmp_path):
    path = write_zarr(tmp_path / "a.zarr", "0.5")
    volume = read_image(path, z="all", target_mpp=1.0)
    assert np.array_equal(volume.pixels, LAST[::2, ::2, ::2])
    assert volume.mpp == pytest.approx((4.0, 0.5, 1.0))


def test_a_pixel_that_is_no_number_is_named_by_its_plane(tmp_path):
    pixels = LAST[..., 0].astype(np.float32)
    pixels[3, 2, 1] = np.nan
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, ome=True, metadata={"axes": "ZYX"})
    with pytest.raises(BadInput, match=r"focal plane 3.*1 pixels that are NaN"):
        read_image(tmp_path / "a.ome.tif", z="all")


def test_planes_are_decoded_one_by_one(tmp_path):
    """What is held beside the volume does not grow with its depth."""
    peaks = []
    for depth in (4, 32):
        path = tmp_path / f"{depth}.tif"
        data = np.zeros((depth, 256, 512), np.uint16)
        tifffile.imwrite(path, data, ome=True, metadata={"axes": "ZYX"}, compression="zlib")
        read_image(path, z="all")
        tracemalloc.start()
        read_image(path, z="all")
        peaks.append(tracemalloc.get_traced_memory()[1] - data.nbytes)
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + (1 << 20)


@pytest.mark.parametrize("text", ["some", "1.5", "-2", "0 1"])
def test_which_plane_is_one_or_all(text):
    with pytest.raises(BadInput, match=r"parameter z: expected the place of a focal plane, or all"):
        focal_plane(text)


def test_a_stack_that_was_written_for_imagej_without_axes_is_a_volume(tmp_path):
    """tifffile calls its planes channels, more than ImageJ can show."""
    stack = RNG.integers(0, 4000, (12, 36, 40), dtype=np.uint16)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack, imagej=True)
    found = read_image(path, z="all")
    assert np.array_equal(found.pixels[..., 0], stack)
    assert any("12 channels and no planes" in remark for remark in found.remarks)
    # Channels they are if nobody asked for a volume, if they have names, if ImageJ shows as many.
    assert read_image(path).pixels.shape == (36, 40, 12)
    names = [f"stain {number}" for number in range(12)]
    tifffile.imwrite(path, stack, imagej=True, metadata={"Labels": names})
    assert read_image(path, z="all").channels == tuple(names)
    tifffile.imwrite(path, stack[:7], imagej=True)
    assert read_image(path, z="all").pixels.shape == (1, 36, 40, 7)
