"""OME-TIFF of one file or several: a plane is read from where it is, whatever files are called."""

import io
from urllib.parse import quote

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cellmill.arrays.batch import Batch
from cellmill.contract import Dataset, Record
from cellmill.errors import BadInput
from cellmill.io.tiff.layout import open_image
from cellmill.io.tiff.read import read_channels
from cellmill.stages.tiff_to_npz import tiff_to_npz
from tests.io.test_ways_of_opening import served
from tests.io.tiff.images import noise

SCHEMA = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
NAMES = ("DAPI", "18S", "ATP1A1")
DATA = noise((3, 50, 66))


def uuid(number):
    return f"urn:uuid:00000000-0000-0000-0000-{number:012d}"


def ome_xml(blocks, *, root="", sizes=None, names=NAMES, order="XYCZT", images=1, samples=1):
    """OME-XML; blocks are (IFD, first C, first Z, first T, count, file, UUID)."""
    sizes = {"X": 66, "Y": 50, "C": 3, "Z": 1, "T": 1} | (sizes or {})
    data = ""
    for ifd, c, z, t, count, file, identity in blocks:
        inner = f'<UUID FileName="{file}">{identity}</UUID>' if file else ""
        data += f'<TiffData IFD="{ifd}" FirstC="{c}" FirstZ="{z}" FirstT="{t}"'
        data += f' PlaneCount="{count}">{inner}</TiffData>'
    channels = "".join(
        f'<Channel ID="Channel:0:{k}" SamplesPerPixel="{samples}" Name="{name}"/>'
        for k, name in enumerate(names)
    )
    pixels = "".join(f'Size{axis}="{length}" ' for axis, length in sizes.items())
    image = (
        f'<Image ID="Image:0" Name="x"><Pixels ID="P:0" DimensionOrder="{order}" Type="uint16" '
        f'{pixels} PhysicalSizeX="0.5" PhysicalSizeY="0.25">{channels}{data}</Pixels></Image>'
    )
    uuid_of_root = f' UUID="{root}"' if root else ""
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    return f'{head}<OME xmlns="{SCHEMA}"{uuid_of_root}>{image * images}</OME>'


def write(path, planes, xml):
    options = {"photometric": "minisblack", "metadata": None}
    tifffile.imwrite(path, planes, description=xml.encode(), **options)
    return path


def read(path, channels=None, **choice):
    with path.open("rb") as file, open_image(file, str(path), **choice) as image:
        channels = range(len(image.channels)) if channels is None else channels
        out = np.zeros((*image.shape, len(channels)), image.dtype)
        read_channels(image, channels, out)
        return image, np.moveaxis(out, -1, 0)


@pytest.mark.parametrize(
    "named", ["a.ome.tif", "original.ome.tif", "", "../x.tif", "C:\\data\\a.tif"]
)
@pytest.mark.parametrize("root", ["", uuid(1), uuid(9)])
@pytest.mark.parametrize("called", ["a.ome.tif", "renamed.tif", "b c#ä.tif"])
def test_one_file_is_read_whatever_it_is_called(tmp_path, named, root, called):
    blocks = [(k, k, 0, 0, 1, named, uuid(1)) for k in range(3)]
    path = write(tmp_path / called, DATA, ome_xml(blocks, root=root))
    image, found = read(path)
    assert image.channels == NAMES
    assert image.mpp == (0.25, 0.5)
    assert image.elsewhere == {}
    assert np.array_equal(found, DATA)


def test_a_copy_beside_its_original_is_read_itself(tmp_path):
    """What the XML names is there, and is another file than the one that is asked for."""
    blocks = [(k, k, 0, 0, 1, "a.ome.tif", uuid(1)) for k in range(3)]
    write(tmp_path / "a.ome.tif", DATA, ome_xml(blocks))
    copy = write(tmp_path / "filtered.ome.tif", DATA[::-1], ome_xml(blocks))
    assert np.array_equal(read(copy)[1], DATA[::-1])


def test_no_tiffdata_means_all_pages(tmp_path):
    image, found = read(write(tmp_path / "a.tif", DATA, ome_xml([])))
    assert image.channels == NAMES
    assert np.array_equal(found, DATA)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_planes_in_any_files(tmp_path, data):
    """Planes, in any order of axes, lie on any pages of any files of a set."""
    sizes = {axis: data.draw(st.integers(1, 3), label=axis) for axis in "CZT"}
    order = "".join(data.draw(st.permutations("CZT"), label="order"))
    planes = [
        (c, z, t) for c in range(sizes["C"]) for z in range(sizes["Z"]) for t in range(sizes["T"])
    ]
    files = data.draw(st.integers(1, 4), label="files")
    home = {p: data.draw(st.integers(0, files - 1)) for p in planes}
    pixels = {p: noise((50, 66)) for p in planes}
    blocks, stacks = [], [[] for _ in range(files)]
    for plane in data.draw(st.permutations(planes)):
        k = home[plane]
        blocks.append((len(stacks[k]), *plane, 1, f"f{k}.ome.tif", uuid(k)))
        stacks[k].append(pixels[plane])
    names = [f"n{c}" for c in range(sizes["C"])]
    for k, stack in enumerate(stacks):
        if stack:
            xml = ome_xml(blocks, root=uuid(k), sizes=sizes, names=names, order=f"XY{order}")
            write(tmp_path / f"f{k}.ome.tif", np.stack(stack), xml)
    z, t = data.draw(st.integers(0, sizes["Z"] - 1)), data.draw(st.integers(0, sizes["T"] - 1))
    asked = data.draw(st.sampled_from([k for k, stack in enumerate(stacks) if stack]))
    image, found = read(tmp_path / f"f{asked}.ome.tif", z=z, t=t)
    assert image.channels == tuple(names)
    for c in range(sizes["C"]):
        assert np.array_equal(found[c], pixels[c, z, t])
    assert image.own == tuple(c for c in range(sizes["C"]) if home[c, z, t] == asked)


def xenium(folder, encode=lambda name: name):
    """A file for each channel, each with the OME-XML of all, as 10x Xenium writes them."""
    names = [f"ch000{k}_x.ome.tif" for k in range(3)]
    blocks = [(0, k, 0, 0, 1, encode(names[k]), uuid(k)) for k in range(3)]
    for k, name in enumerate(names):
        write(folder / name, DATA[k], ome_xml(blocks, root=uuid(k)))
    return [folder / name for name in names]


def test_a_file_for_each_channel(tmp_path):
    paths = xenium(tmp_path)
    for k, path in enumerate(paths):
        image, found = read(path)
        assert image.channels == NAMES
        assert image.mpp == (0.25, 0.5)
        assert image.own == (k,)
        assert np.array_equal(found, DATA)


def test_the_channel_of_the_file_that_is_named_is_segmented(tmp_path):
    paths = xenium(tmp_path)
    outputs = (Dataset(tmp_path / "i"), Dataset(tmp_path / "t"), Record(tmp_path / "r.json"))
    tiff_to_npz(*outputs, [str(paths[1])], measure_channels="all")
    batch = Batch.open(tmp_path / "i")
    (entry,) = batch.entries
    assert entry.channels == ("18S", "DAPI", "ATP1A1")
    assert entry.attributes["segmentation_channels"] == [0]
    assert np.array_equal(batch.read(entry, "image")[..., 0], DATA[1])
    assert "one file of a set of 3 channels" in " ".join(entry.attributes["remarks"])


def test_channels_whose_files_are_not_there(tmp_path):
    paths = xenium(tmp_path)
    paths[1].unlink()
    image, found = read(paths[0], [0, 2])
    assert image.elsewhere == {1: "ch0001_x.ome.tif"}
    assert image.remarks == (
        "channels 18S are said to be in files that are not there: ch0001_x.ome.tif",
    )
    assert np.array_equal(found, DATA[[0, 2]])
    with pytest.raises(BadInput, match=r"'ch0001_x.ome.tif' beside it.*found nothing there"):
        read(paths[0], [1])


def test_of_a_set_a_file_of_another_name_is_refused(tmp_path):
    blocks = [(0, k, 0, 0, 1, f"c{k}.tif", uuid(k)) for k in range(3)]
    path = write(tmp_path / "renamed.tif", DATA[0], ome_xml(blocks))
    with pytest.raises(
        BadInput, match=r"knows it by \(c0.tif, c1.tif, c2.tif\).*give it that name"
    ):
        read(path)
    # Its UUID tells it, too.
    path = write(tmp_path / "renamed.tif", DATA[1], ome_xml(blocks, root=uuid(1)))
    image, found = read(path, [1])
    assert np.array_equal(found[0], DATA[1])
    assert sorted(image.elsewhere) == [0, 2]


@pytest.mark.parametrize(
    "name", ["../secret.tif", "/etc/secret.tif", "sub/secret.tif", "..\\s.tif"]
)
def test_no_file_of_another_folder_is_opened(tmp_path, name):
    folder = tmp_path / "sub" / "sub"
    folder.mkdir(parents=True)
    for place in (tmp_path / "sub" / "secret.tif", folder / "sub" / "secret.tif"):
        place.parent.mkdir(exist_ok=True)
        tifffile.imwrite(place, DATA[1])
    blocks = [(0, 0, 0, 0, 1, "a.tif", uuid(0)), (0, 1, 0, 0, 1, name, uuid(1))]
    blocks.append((1, 2, 0, 0, 1, "a.tif", uuid(0)))
    path = write(folder / "a.tif", DATA[[0, 2]], ome_xml(blocks))
    assert read(path, [0, 2])[0].elsewhere == {1: name}


def companion(folder):
    """Channels in files without OME-XML of their own, which is a file beside them."""
    link = f'<BinaryOnly MetadataFile="set.companion.ome" UUID="{uuid(7)}"/>'
    link = f'<OME xmlns="{SCHEMA}">{link}</OME>'
    blocks = [(0, k, 0, 0, 1, f"c{k}.tif", uuid(k)) for k in range(3)]
    for k in range(3):
        write(folder / f"c{k}.tif", DATA[k], link)
    (folder / "set.companion.ome").write_text(ome_xml(blocks, root=uuid(7)))


def test_a_companion_file(tmp_path):
    companion(tmp_path)
    for name in ("set.companion.ome", "c1.tif"):
        image, found = read(tmp_path / name)
        assert image.channels == NAMES
        assert image.mpp == (0.25, 0.5)
        assert np.array_equal(found, DATA)
    (tmp_path / "set.companion.ome").unlink()
    image, found = read(tmp_path / "c1.tif")
    assert np.array_equal(found[0], DATA[1])
    assert "'set.companion.ome' beside it" in image.remarks[0]


def test_a_set_on_a_web_server(tmp_path):
    from cellmill.io import uris

    folder = tmp_path / "a b"
    folder.mkdir()
    xenium(folder)
    with served(tmp_path) as (root, _):
        uri = f"{root}/{quote('a b')}/ch0002_x.ome.tif?token=1"
        with uris.open_uri(uri) as file, open_image(file, uri) as image:
            out = np.zeros((*image.shape, 3), image.dtype)
            read_channels(image, range(3), out)
    assert np.array_equal(np.moveaxis(out, -1, 0), DATA)


@pytest.mark.parametrize(
    ("planar", "first"), [("contig", [0, 1]), ("contig", [0, 3]), ("separate", [0, 1])]
)
def test_samples_of_a_pixel_are_channels(tmp_path, planar, first):
    data = noise((2, 50, 66, 3), "uint8")
    stored = data if planar == "contig" else np.moveaxis(data, -1, 1)
    blocks = [(k, c, 0, 0, 1, "", "") for k, c in enumerate(first)]
    xml = ome_xml(blocks, sizes={"C": 6}, names=("a", "b"), samples=3)
    path = tmp_path / "a.tif"
    options = {"photometric": "rgb", "planarconfig": planar, "metadata": None}
    tifffile.imwrite(path, stored, description=xml.encode(), **options)
    image, found = read(path)
    assert image.channels == ("a R", "a G", "a B", "b R", "b G", "b B")
    assert np.array_equal(found, np.moveaxis(data, -1, 1).reshape(6, 50, 66))


def test_xml_of_another_image_is_not_used(tmp_path):
    """ImageJ keeps the XML when it crops."""
    path = write(tmp_path / "a.tif", DATA, ome_xml([], sizes={"X": 660}))
    image, found = read(path)
    assert image.mpp is None
    assert image.unexplained
    assert "describes 50 × 660 px, where its pages have 50 × 66" in image.remarks[0]
    assert np.array_equal(found, DATA)


@pytest.mark.parametrize(
    "xml",
    [
        f'<OME xmlns="{SCHEMA}"><Image></OME>',
        ome_xml([]).replace('SizeC="3"', 'SizeC="three"'),
        ome_xml([]).replace("XYCZT", "CXYZT"),
        ome_xml([]).replace('SizeZ="1"', 'SizeZ="0"'),
        ome_xml([(-1, 0, 0, 0, 1, "", "")]),
        ome_xml([]).replace(' SizeT="1"', ""),
        "<OME>",
    ],
)
def test_damaged_xml_is_remarked_on(tmp_path, xml):
    image, found = read(write(tmp_path / "a.tif", DATA, xml))
    assert image.remarks[0].startswith("its OME-XML is not used: expected OME-XML that can be read")
    assert np.array_equal(found, DATA)


def test_pages_that_are_missing(tmp_path):
    path = write(tmp_path / "a.tif", DATA, ome_xml([], sizes={"C": 5}))
    with pytest.raises(BadInput, match=r"pages for the 5 planes of its OME-XML.*missing"):
        read(path)
    path = write(tmp_path / "a.tif", DATA, ome_xml([(3, 0, 0, 0, 1, "", "")], sizes={"C": 1}))
    with pytest.raises(BadInput, match="expected at least 4 pages, found 3"):
        read(path)


def test_micro_manager_stack_of_one_file(tmp_path):
    """Micro-Manager names the file in each TiffData, and gives the OME element no UUID."""
    named = [(k, k, 0, 0, 1, "x_MMStack_Default.ome.tif", uuid(1)) for k in range(2)]
    xml = ome_xml(named, sizes={"C": 2}, names=("DAPI", "FITC"))
    image, found = read(write(tmp_path / "moved.ome.tif", DATA[:2], xml))
    assert image.channels == ("DAPI", "FITC")
    assert np.array_equal(found, DATA[:2])


def test_a_large_document_of_many_images_opens(tmp_path):
    xml = ome_xml([(k, k, 0, 0, 1, "", "") for k in range(3)], images=50_000)
    path = write(tmp_path / "a.tif", DATA, xml)
    _, found = read(path, series=40_000)
    assert np.array_equal(found, DATA)
    with pytest.raises(BadInput, match="50000 images of 50 × 66"):
        read(path)


def test_reading_from_memory():
    file = io.BytesIO()
    tifffile.imwrite(file, DATA, ome=True, metadata={"axes": "CYX"}, photometric="minisblack")
    with open_image(file, "a.tif") as image:
        assert image.own == (0, 1, 2)
