"""Channel names and pixel sizes come from what instruments write in tags of their own.

The files are made here, after what each format documents.
"""

import io
import json
import struct

import numpy as np
import pytest
import tifffile

from cellmill.errors import BadInput
from cellmill.io.tiff.layout import open_image
from tests.io.tiff.images import noise, read

PIXELS = noise((3, 64, 48))
NAMES = ("DAPI", "CD8", "PanCK")


def about(file, name="a.tif", **options):
    file.seek(0)
    with open_image(file, name, **options) as image:
        return image


def pages(*written, **common):
    """A TIFF of pages, each given as its pixels and options."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file, byteorder="<") as tif:
        for pixels, options in written:
            one = {"photometric": "minisblack", "metadata": None, **common, **options}
            tif.write(pixels, **one)
    return file


def qpi(kind, name="", marker=""):
    return (
        '<?xml version="1.0" encoding="utf-16"?><PerkinElmer-QPI-ImageDescription>'
        f"<ImageType>{kind}</ImageType><Name>{name}</Name><Biomarker>{marker}</Biomarker>"
        "</PerkinElmer-QPI-ImageDescription>"
    )


def qptiff(named):
    full = [
        (plane, {"tile": (32, 32), "description": qpi("FullResolution", *each)})
        for plane, each in zip(PIXELS, named, strict=True)
    ]
    thumbnail = np.zeros((16, 12, 3), "uint8")
    shown = [(thumbnail, {"photometric": "rgb", "description": qpi("Thumbnail")})]
    small = [
        (
            plane[::2, ::2],
            {"tile": (32, 32), "subfiletype": 1, "description": qpi("Reduced", *each)},
        )
        for plane, each in zip(PIXELS, named, strict=True)
    ]
    common = {"resolution": (20000, 40000), "resolutionunit": 3, "software": "PerkinElmer-QPI"}
    return pages(*full, *shown, *small, **common)


def test_channels_of_a_qptiff_are_its_markers_else_its_filters():
    file = qptiff([("DAPI", "DAPI"), ("Opal 520", "CD8"), ("Opal 570", "PanCK")])
    image = about(file)
    assert (image.channels, image.mpp) == (NAMES, (0.25, 0.5))
    assert image.level_shapes == ((64, 48), (32, 24))
    assert about(file, target_mpp=1.0).channels == NAMES
    image = about(qptiff([("DAPI", ""), ("Opal 520", ""), ("", "")]))
    assert image.channels == ("DAPI", "Opal 520", "2")


def test_the_pixels_of_a_named_channel_are_its_own():
    file = qptiff([("a", "DAPI"), ("b", "CD8"), ("c", "PanCK")])
    for number in range(3):
        np.testing.assert_array_equal(read(file, (number,))[..., 0], PIXELS[number])


@pytest.mark.parametrize(("text", "mpp"), [("0.2520", 0.252), ("0,2520", 0.252), ("none", None)])
def test_the_pixel_size_of_an_svs_is_its_mpp(text, mpp):
    said = (
        f"Aperio Image Library v12.0\r\n48x64 (32x32) JPEG/RGB Q=70|AppMag = 20|MPP = {text}|X = 1"
    )
    colours = noise((64, 48, 3), "uint8")
    options = {"photometric": "rgb", "tile": (32, 32), "description": said}
    image = about(pages((colours, options)))
    assert image.mpp == (mpp and (mpp, mpp))
    assert image.mpp_source == ("Aperio" if mpp else "unknown")
    assert image.channels == ("R", "G", "B")
    assert bool(image.remarks) == (mpp is None)


def lsm(names, size=(0.5e-6, 0.25e-6, 1e-6)):
    """A Zeiss LSM: CZ_LSMINFO in a tag of the first page, a thumbnail after each plane."""
    info = bytearray(512)
    head = (0x0400494C, 512, 48, 64, 1, len(names), 1, 2, 12, 16)
    struct.pack_into("<10I", info, 0, *head)
    struct.pack_into("<3d", info, 40, *size)
    written = [
        (PIXELS[: len(names)], {"planarconfig": "separate"}),
        (noise((len(names), 16, 12)), {"planarconfig": "separate", "subfiletype": 1}),
    ]
    written[0][1]["extratags"] = [(34412, 1, len(info), bytes(info), True)]
    file = pages(*written)
    texts = b"".join(struct.pack("<I", len(n) + 1) + n.encode() + b"\0" for n in names)
    colours = bytes(4 * len(names))
    block = 24 + len(colours) + len(texts)
    counts = (block, len(names), len(names), 24, 24 + len(colours), 0)
    at = file.seek(0, 2)
    file.write(struct.pack("<6I", *counts) + colours + texts)
    place = file.getvalue().index(struct.pack("<2I", *head[:2]))
    file.seek(place + 108)
    file.write(struct.pack("<I", at))
    return file


def test_an_lsm_names_its_channels_and_gives_its_voxels_in_metres():
    image = about(lsm(["Ch1-T1", "Ch2", "ChD"]))
    assert image.mpp == pytest.approx((0.25, 0.5))
    assert image.mpp_source == "LSM"
    assert image.channels == ("Ch1-T1", "Ch2", "ChD")
    np.testing.assert_array_equal(read(lsm(["a", "b", "c"]), (1,))[..., 0], PIXELS[1])


def scn(names, view=(24000, 16000)):
    channels = "".join(f'<channel index="{i}" name="{n}|x"/>' for i, n in enumerate(names))
    planes = "".join(f'<dimension c="{c}" ifd="{c}" r="0"/>' for c in range(3))
    return (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">'
        '<collection sizeX="1" sizeY="1"><image name="image">'
        f'<pixels sizeX="48" sizeY="64">{planes}</pixels>'
        f'<view sizeX="{view[0]}" sizeY="{view[1]}"/>'
        f"<scanSettings><channelSettings>{channels}</channelSettings></scanSettings>"
        "</image></collection></scn>"
    )


def test_an_scn_gives_its_extent_in_nanometres_and_its_channels_by_index():
    written = [(plane, {}) for plane in PIXELS]
    written[0][1]["description"] = scn(NAMES)
    image = about(pages(*written))
    assert (image.channels, image.mpp, image.mpp_source) == (NAMES, (0.25, 0.5), "Leica SCN")
    written[0][1]["description"] = scn(("405", "488"))
    image = about(pages(*written))
    assert image.channels == ("0", "1", "2")
    assert any("SCN names 2 channels (405, 488), where there are 3" in r for r in image.remarks)


def test_an_ndpi_names_the_filter_of_its_channel():
    tags = [(271, 2, 9, "Hamamatsu", True), (65420, 4, 1, 1, True), (65421, 11, 1, 20.0, True)]
    tags.append((65434, 2, 5, "DAPI", True))
    options = {"extratags": tags, "resolution": (20000, 40000), "resolutionunit": 3}
    image = about(pages((PIXELS[0], options)))
    assert image.channels == ("DAPI",)
    assert (image.mpp, image.mpp_source) == ((0.25, 0.5), "TIFF resolution")


def micro_manager(**said):
    page = json.dumps(said).encode()
    return [(51123, 2, len(page) + 1, page, True)]


def test_images_of_micro_manager_say_channel_and_pixel_size():
    written = [
        (plane, {"extratags": micro_manager(Channel=name, PixelSizeUm=0.325)})
        for plane, name in zip(PIXELS, NAMES, strict=True)
    ]
    image = about(pages(*written))
    assert (image.channels, image.mpp) == (NAMES, (0.325, 0.325))
    assert image.mpp_source == "Micro-Manager"
    # No calibration was chosen.
    image = about(pages((PIXELS[0], {"extratags": micro_manager(Channel="DAPI", PixelSizeUm=0)})))
    assert (image.channels, image.mpp) == (("DAPI",), None)


def stack(summary, ome=""):
    """A Micro-Manager stack: the summary between the header and the first page."""
    plain = [(plane, {"extratags": micro_manager()}) for plane in PIXELS]
    if ome:
        plain[0][1]["description"] = ome
    content = pages(*plain).getvalue()
    said = json.dumps(summary).encode()
    said += b" " * (len(said) % 2)
    shift = 32 + len(said)
    head = struct.pack("<8I", 54773648, 0, 0, 0, 0, 0, 2355492, len(said))
    return shifted(content, head + said, shift)


def shifted(content, between, shift):
    """A little-endian classic TIFF with bytes put in after its header."""
    out = bytearray(content[:8] + between + content[8:])
    at = struct.unpack_from("<I", out, 4)[0]
    struct.pack_into("<I", out, 4, at + shift)
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 16: 8}
    while at:
        at += shift
        count = struct.unpack_from("<H", out, at)[0]
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            code, kind, length, value = struct.unpack_from("<HHII", out, entry)
            if sizes[kind] * length > 4 or code == 273:
                struct.pack_into("<I", out, entry + 8, value + shift)
        at_next = at + 2 + 12 * count
        at = struct.unpack_from("<I", out, at_next)[0]
        if at:
            struct.pack_into("<I", out, at_next, at + shift)
    return io.BytesIO(bytes(out))


def test_a_stack_of_micro_manager_says_them_in_its_summary():
    image = about(stack({"ChNames": [*NAMES], "PixelSize_um": 0.325, "Channels": 3}))
    assert (image.channels, image.mpp) == (NAMES, (0.325, 0.325))
    np.testing.assert_array_equal(read(stack({"ChNames": [*NAMES]}), (2,))[..., 0], PIXELS[2])


def test_ome_xml_goes_first_and_what_it_leaves_out_the_summary_says():
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image'
        ' ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="48" '
        'SizeY="64" SizeC="3" SizeZ="1" SizeT="1"{}>{}<TiffData/></Pixels></Image></OME>'
    )
    summary = {"ChNames": [*NAMES], "PixelSize_um": 0.325}
    image = about(stack(summary, xml.format("", "")))
    assert (image.channels, image.mpp) == (NAMES, (0.325, 0.325))
    channels = "".join(f'<Channel Name="{name}"/>' for name in "abc")
    sizes = ' PhysicalSizeX="0.5" PhysicalSizeY="0.25"'
    image = about(stack(summary, xml.format(sizes, channels)))
    assert (image.channels, image.mpp) == (("a", "b", "c"), (0.25, 0.5))


def test_pages_that_have_names_are_channels_of_these_names():
    def named(names):
        return pages(
            *(
                (plane, {"extratags": [(285, 2, len(name) + 1, name, True)]} if name else {})
                for plane, name in zip(PIXELS, names, strict=True)
            )
        )

    image = about(named(NAMES))
    assert image.channels == NAMES
    assert not image.unexplained
    for names in (("a.tif",) * 3, ("a", "", "c"), ("", "b", "c")):
        image = about(named(names))
        assert image.channels == ("0", "1", "2")
        assert image.unexplained


@pytest.mark.parametrize("shape", [(256, 256, 5), (96, 64, 2), (100, 80, 40), (300, 40, 3)])
@pytest.mark.parametrize("form", [{}, {"imagej": True}, {"compression": "zlib"}])
def test_channels_that_are_last_are_refused_and_no_sliver_of_them_is_an_image(shape, form):
    file = io.BytesIO()
    tifffile.imwrite(file, noise(shape), photometric="minisblack", **form)
    with pytest.raises(BadInput, match=rf"found channels last: .* with {shape[2]} channels"):
        about(file)


def test_channels_that_are_last_in_each_pixel_are_channels():
    file = io.BytesIO()
    tifffile.imwrite(file, PIXELS.transpose(1, 2, 0), photometric="minisblack", planarconfig=1)
    np.testing.assert_array_equal(read(file, (0, 1, 2)), PIXELS.transpose(1, 2, 0))
