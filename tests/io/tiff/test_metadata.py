"""Pixel size and channel names come from the file, in any unit; else they are unknown."""

import collections
import io
import zipfile

import numpy as np
import pytest
import tifffile

from cellmill.datasets import samples
from cellmill.io.tiff.layout import open_image
from cellmill.io.tiff.metadata import (
    from_imagej,
    from_metamorph,
    from_ome,
    from_resolution,
    imagej_channel_names,
)
from cellmill.io.tiff.ome_xml import parse_ome_xml

DATA = np.zeros((3, 20, 30), "uint16")
NAN = float("nan")


def about(content, **options):
    with open_image(content, "a.tif", **options) as image:
        return image


def tiff(data=DATA, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, data, **{"photometric": "minisblack", **options})
    return file


def ome(**attributes):
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image><Pixels SizeX="1" '
        'SizeY="1" SizeC="1" SizeZ="1" SizeT="1" '
        + " ".join(f"{key}={value!r}" for key, value in attributes.items())
        + "/></Image></OME>"
    )
    return from_ome(parse_ome_xml(xml, "a.tif").images[0])


@pytest.mark.parametrize(
    ("size", "unit", "mpp"),
    [
        ("0.5", None, 0.5),
        ("0.5", "\u00b5m", 0.5),
        ("0.5", "\u03bcm", 0.5),
        ("0.5", "um", 0.5),
        ("500", "nm", 0.5),
        ("5000", "\u00c5", 0.5),
        ("5e-4", "mm", 0.5),
        ("5e-5", "cm", 0.5),
        ("5e-7", "m", 0.5),
        ("2e-5", "in", 0.508),
        ("0.02", "thou", 0.508),
    ],
)
def test_ome_units(size, unit, mpp):
    units = {} if unit is None else {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    found = ome(PhysicalSizeX=size, PhysicalSizeY=size, **units)
    assert found.mpp == pytest.approx((mpp, mpp))
    assert found.source == "OME-XML"


def test_ome_sizes_per_axis():
    found = ome(PhysicalSizeX="500", PhysicalSizeXUnit="nm", PhysicalSizeY="0.6")
    assert found.mpp == pytest.approx((0.6, 0.5))


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"PhysicalSizeX": "0", "PhysicalSizeY": "0"},
        {"PhysicalSizeX": "-1", "PhysicalSizeY": "-1"},
        {"PhysicalSizeX": "NaN", "PhysicalSizeY": "NaN"},
        {"PhysicalSizeX": "wide", "PhysicalSizeY": "1"},
        {"PhysicalSizeX": "1", "PhysicalSizeY": "1", "PhysicalSizeXUnit": "pixel"},
        {"PhysicalSizeX": "1", "PhysicalSizeY": "1", "PhysicalSizeYUnit": "reference frame"},
    ],
)
def test_ome_says_nothing(attributes):
    assert ome(**attributes).mpp is None


@pytest.mark.parametrize("axis", "XY")
def test_one_side_of_a_pixel_alone_is_taken_for_both_and_said(axis):
    found = ome(**{f"PhysicalSize{axis}": "500", f"PhysicalSize{axis}Unit": "nm"})
    assert found.mpp == (0.5, 0.5)
    assert f"PhysicalSize{axis} alone" in found.remark
    metadata = {"axes": "CYX", f"PhysicalSize{axis}": 0.5}
    image = about(tiff(metadata=metadata))
    assert image.mpp == (0.5, 0.5)
    assert any(f"PhysicalSize{axis} alone" in remark for remark in image.remarks)


@pytest.mark.parametrize(
    "unit",
    [
        "\\u03BCm",
        "\\u03bcm",
        "micron",
        "microns",
        "um",
        "µm",
        "\u03bcm",
        "\\u00B5m",
        "Âµm",
        "Micron",
        "micrometer",
    ],
)
def test_imagej_units(unit):
    assert from_imagej({"unit": unit}, 4, 2).mpp == pytest.approx((0.5, 0.25))


def test_imagej_other_units_and_none():
    assert from_imagej({"unit": "inch"}, 50800, 50800).mpp == pytest.approx((0.5, 0.5))
    assert from_imagej({"unit": "nm"}, 0.002, 0.002).mpp == pytest.approx((0.5, 0.5))
    assert from_imagej({"unit": "um", "yunit": "nm"}, 2, 0.004).mpp == pytest.approx((0.25, 0.5))
    assert from_imagej({"unit": "\\u00C5"}, 0.0002, 0.0004).mpp == pytest.approx((0.25, 0.5))
    # Imaging mass cytometry has 1 µm a pixel.
    found = from_imagej({"unit": "micron"}, 1, 1)
    assert found.mpp == (1, 1)
    assert "may be a default" in found.remark
    for metadata, x in [
        ({}, 2),
        ({"unit": "pixel"}, 2),
        ({"unit": "um"}, NAN),
    ]:
        assert from_imagej(metadata, x, x).mpp is None


METAMORPH = """<MetaData><PlaneInfo>
<prop id="spatial-calibration-state" type="bool" value="{state}"/>
<prop id="spatial-calibration-x" type="float" value="{x}"/>
<prop id="spatial-calibration-y" type="float" value="0.65"/>
<prop id="spatial-calibration-units" type="string" value="{unit}"/>
</PlaneInfo></MetaData>"""


def test_metamorph():
    assert from_metamorph(METAMORPH.format(state="on", x=0.6, unit="um")).mpp == (0.65, 0.6)
    for state, x, unit in [("off", 0.6, "um"), ("on", 0, "um"), ("on", 1, "pixel")]:
        assert from_metamorph(METAMORPH.format(state=state, x=x, unit=unit)).mpp is None
    assert from_metamorph("<MetaData><PlaneInfo>").mpp is None
    assert from_metamorph("<MetaData/>").mpp is None


@pytest.mark.parametrize(
    ("x", "unit", "mpp"),
    [
        (20000, 3, 0.5),
        (50800, 2, 0.5),
        (1, 1, None),
        (1, 2, None),
        (20000, 1, None),
        (20000, 0, None),
        (72, 2, None),
        (96, 2, None),
        (300, 2, None),
        (2400, 2, None),
        (118.11, 3, None),
        (0, 3, None),
        (NAN, 3, None),
    ],
)
def test_resolution_tags(x, unit, mpp):
    found = from_resolution(x, x, unit)
    assert found.mpp == (mpp and pytest.approx((mpp, mpp)))


def test_what_is_found_and_not_understood_is_said_also_where_another_place_is():
    file = tiff(
        ome=True,
        metadata={"axes": "CYX", "PhysicalSizeX": 1, "PhysicalSizeXUnit": "reference frame"},
        resolution=(20000, 20000),
        resolutionunit="CENTIMETER",
    )
    image = about(file)
    assert (image.mpp, image.mpp_source) == ((0.5, 0.5), "TIFF resolution")
    assert image.remarks == ("OME-XML gives the pixel size in 'reference frame'",)
    image = about(tiff(resolution=(4, 2), resolutionunit="NONE", metadata=None))
    assert image.mpp is None
    assert image.remarks == ("resolution of 4 × 2 pixels in no unit",)
    names = {"axes": "CYX", "Channel": {"Name": ["a", "b"]}}
    assert any("names 2 channels" in remark for remark in about(tiff(metadata=names)).remarks)


def test_a_printers_resolution_is_said_to_be_one():
    image = about(tiff(resolution=(300, 300), resolutionunit="INCH", metadata=None))
    assert image.mpp is None
    assert image.mpp_source == "unknown"
    assert image.remarks == ("resolution of 300 dpi is a printer's",)


def test_sources_in_whole_files():
    metadata = {"axes": "CYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}
    image = about(tiff(ome=True, metadata=metadata))
    assert (image.mpp, image.mpp_source) == ((0.5, 0.25), "OME-XML")
    image = about(tiff(imagej=True, resolution=(4, 2), metadata={"unit": "um", "axes": "CYX"}))
    assert (image.mpp, image.mpp_source) == ((0.5, 0.25), "ImageJ")
    image = about(tiff(resolution=(40000, 20000), resolutionunit="CENTIMETER"))
    assert (image.mpp, image.mpp_source) == ((0.5, 0.25), "TIFF resolution")
    image = about(tiff(description=METAMORPH.format(state="on", x=0.6, unit="um"), metadata=None))
    assert (image.mpp, image.mpp_source) == ((0.65, 0.6), "MetaMorph")
    image = about(tiff())
    assert (image.mpp, image.mpp_source) == (None, "unknown")


def test_a_parameter_overrides_the_file():
    metadata = {"axes": "CYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}
    image = about(tiff(ome=True, metadata=metadata), mpp=0.7)
    assert (image.mpp, image.mpp_source) == ((0.7, 0.7), "parameter")


def test_resolution_of_an_imagej_file_with_a_unit_is_not_read_as_inches():
    file = tiff(imagej=True, resolution=(5e4, 5e4), metadata={"unit": "pixel", "axes": "CYX"})
    assert about(file).mpp is None


def test_channels_that_are_stored_as_colours_are_channels():
    """What tifffile makes of three channels if it is not told otherwise."""
    image = about(tiff(photometric="rgb", planarconfig="separate", metadata={"axes": "CYX"}))
    assert image.channels == ("0", "1", "2")
    assert not image.colour


def test_channel_names():
    names = ["DAPI", "GFP µ", "Cy5"]
    assert about(
        tiff(ome=True, metadata={"axes": "CYX", "Channel": {"Name": names}})
    ).channels == tuple(names)
    image = about(tiff(imagej=True, metadata={"axes": "CYX", "Labels": names}))
    assert image.channels == tuple(names)
    named = {"axes": "CYX", "Channel": {"Name": names}}
    assert about(tiff(metadata=named)).channels == tuple(names)
    assert about(tiff(metadata={"axes": "CYX"})).channels == ("0", "1", "2")


def test_imagej_labels():
    hyperstack = [f"c:{c}/2 z:{z}/3 - {n}" for z in (1, 2, 3) for c, n in ((1, "A"), (2, "B"))]
    assert imagej_channel_names(hyperstack, 2, 6) == ("A", "B")
    assert imagej_channel_names(["a.tif", "a.tif"], 2, 2) == ()
    assert imagej_channel_names(["a"], 2, 2) == ()
    assert imagej_channel_names(["c:1/2", "c:2/2"], 2, 2) == ()


def test_names_of_the_chosen_image_of_several(tmp_path):
    path = tmp_path / "two.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tif:
        for name, mpp in (("A", 0.25), ("B", 0.5)):
            metadata = {"axes": "CYX", "PhysicalSizeX": mpp, "PhysicalSizeY": mpp}
            metadata["Channel"] = {"Name": [f"{name}{c}" for c in range(3)]}
            tif.write(DATA, metadata=metadata, photometric="minisblack")
    with path.open("rb") as file:
        image = about(file, series=1)
    assert image.channels == ("B0", "B1", "B2")
    assert image.mpp == (0.5, 0.5)


def test_mnfinders_images_say_what_data_md_counts():
    found = collections.Counter()
    with zipfile.ZipFile(samples.fetch_wheel(samples.MNFINDER)) as wheel:
        for name in wheel.namelist():
            if name.endswith(".tif"):
                image = about(io.BytesIO(wheel.read(name)))
                mpp = image.mpp and tuple(round(m, 3) for m in image.mpp)
                found[mpp, image.mpp_source] += 1
    assert found == {
        ((0.645, 0.645), "MetaMorph"): 23,
        ((0.358, 0.358), "ImageJ"): 7,
        (None, "unknown"): 19,
    }


@pytest.mark.parametrize(
    ("unit", "resolution", "mpp"),
    [
        ("\\u03BCm", (2, 4), (0.25, 0.5)),
        ("\\u00B5m", (2, 4), (0.25, 0.5)),
        ("\\u00C5", (0.0002, 0.0004), (0.25, 0.5)),
        ("micron", (1, 1), (1, 1)),
        ("pixel", (2, 4), None),
    ],
)
def test_units_as_imagej_writes_them_in_whole_files(unit, resolution, mpp):
    said = f"ImageJ=1.53t\nunit={unit}\n".encode()
    options = {"resolution": resolution, "resolutionunit": 1, "byteorder": ">", "metadata": None}
    image = about(tiff(DATA[0], description=said, **options))
    assert image.mpp == (mpp and pytest.approx(mpp))
    assert image.mpp_source == ("ImageJ" if mpp else "unknown")
    assert bool(image.remarks) == (mpp in (None, (1, 1)))
