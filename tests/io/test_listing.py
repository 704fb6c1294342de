"""A folder, a glob and a prefix stand for all their images; what cannot be read is never hidden."""

import contextlib
import glob
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmill.errors import BadInput
from cellmill.io.listing import Listed, list_files, list_uris
from cellmill.io.suffixes import IMAGE_SUFFIXES, stem_of


def test_listing(tmp_path):
    for name in ("b.tif", "a.TIFF", "._a.tif", "c.png", "sub/d.tif", "x[1].tif", "x1.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.tif").mkdir()

    def names(pattern, *suffixes):
        found = list_uris(str(tmp_path / pattern), *suffixes)
        return [str(Path(f).relative_to(tmp_path)) for f in found]

    assert names("") == ["a.TIFF", "b.tif", "x1.tif", "x[1].tif"]
    assert names("*.tif") == ["b.tif", "x1.tif", "x[1].tif"]
    assert names("**/*.tif") == ["b.tif", "sub/d.tif", "x1.tif", "x[1].tif"]
    assert names("x[1].tif") == ["x[1].tif"]
    assert names("x[1]*") == ["x1.tif"]
    assert names("x") == ["x1.tif", "x[1].tif"]
    assert names("c.png") == ["c.png"]
    assert names("", (".png",)) == ["c.png"]
    for pattern in ("*.jpg", "nothing", "sub/nothing", "no/such/folder"):
        with pytest.raises(BadInput, match=r"end in \.tif, \.tiff.*found no such file"):
            names(pattern)


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_every_kind_of_image_is_found_in_folders_by_globs_and_by_prefixes(tmp_path, suffix, store):
    names = [f"a{suffix}", f"b{suffix.upper()}", f"c.ome{suffix}"]
    for name in names:
        (tmp_path / name).mkdir() if suffix == ".zarr" else (tmp_path / name).touch()
        store.pipe(f"/bucket/images/{name}{'/zarr.json' * (suffix == '.zarr')}", b"x")
        assert stem_of(name) == name[0]
    (tmp_path / "notes.txt").touch()
    store.pipe("/bucket/images/notes.txt", b"x")
    for root in (str(tmp_path), "memory://bucket/images"):
        where = root.replace("://", ":///") if "://" in root else root
        assert list_uris(root) == [f"{where}/{name}" for name in names]
        assert list_uris(f"{root}/*{suffix}") == [f"{where}/{names[0]}", f"{where}/{names[2]}"]
        assert list_uris(f"{root}/c.o") == [f"{where}/{names[2]}"]
        assert len(list_files(root).left_aside) == 1
        assert list_files(root).others() == "1 other ('notes.txt')"


def test_listing_a_store(store):
    folder = ["memory:///bucket/p/a.tif", "memory:///bucket/p/b [1].TIF"]
    assert list_uris("memory://bucket/p") == folder
    assert list_uris("memory://bucket/p/*.tif") == folder[:1]
    assert list_uris("memory://bucket/**/*.tiff") == ["memory:///bucket/p/deep/e.tiff"]
    assert list_uris("memory://bucket/plate1_") == ["memory:///bucket/plate1_x.tif"]
    assert list_uris("memory://bucket/p/b [1]") == folder[1:]
    with pytest.raises(BadInput, match="found no such file"):
        list_uris("memory://bucket/q")


def test_what_is_left_aside_is_counted(tmp_path):
    for name in ("a.tif", "notes.txt", "b.vsi", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / "masks").mkdir()
    found = list_files(str(tmp_path))
    assert [file.name for file in found.files] == ["a.tif"]
    assert [Path(path).name for path in found.left_aside] == [
        ".hidden",
        "b.vsi",
        "masks",
        "notes.txt",
    ]
    (tmp_path / "a.tif").unlink()
    with pytest.raises(BadInput, match=r"found 4 others \('\.hidden', …\)"):
        list_files(str(tmp_path))


def test_a_link_to_nowhere_is_listed_and_so_is_one_to_itself(tmp_path):
    (tmp_path / "ok.tif").touch()
    (tmp_path / "lost.tif").symlink_to("/nowhere/lost.tif")
    (tmp_path / "loop.tif").symlink_to("loop.tif")
    (tmp_path / "gone.zarr").symlink_to("/nowhere/gone.zarr")
    os.mkfifo(tmp_path / "pipe.tif")
    names = ["gone.zarr", "loop.tif", "lost.tif", "ok.tif", "pipe.tif"]
    for pattern in ("", "*", "**/*"):
        found = list_uris(str(tmp_path / pattern))
        assert [Path(f).name for f in found] == names
    assert list_uris(str(tmp_path / "lost.tif")) == [str(tmp_path / "lost.tif")]


@pytest.mark.parametrize("pattern", ["*/images/*.tif", "**/*.tif", "*/*.tif"])
def test_a_folder_that_is_a_link_to_nowhere_is_no_empty_folder(tmp_path, pattern):
    (tmp_path / "p1" / "images").mkdir(parents=True)
    for folder in ("p1", "p1/images"):
        (tmp_path / folder / "a.tif").touch()
    (tmp_path / "p2").symlink_to("/nowhere/p2")
    with pytest.raises(BadInput, match=r"folder '.*p2': .*link to '/nowhere/p2', where nothing is"):
        list_files(str(tmp_path / pattern))
    found = list_files(str(tmp_path / pattern), unreadable_as_files=True)
    assert str(tmp_path / "p2") in [file.uri for file in found.files]


@contextlib.contextmanager
def nobody():
    """Be someone who has no rights of the superuser's, whom permissions do not bind."""
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(mine)


def test_a_folder_that_may_not_be_read_is_one_line():
    root = Path(tempfile.mkdtemp(prefix="cellmill-test-"))
    try:
        for folder in ("open", "shut"):
            (root / folder).mkdir()
            (root / folder / "a.tif").touch()
        root.chmod(0o755)
        (root / "shut").chmod(0)
        with nobody():
            for pattern in ("shut", "shut/*.tif", "*/*.tif", "**/*.tif", "shut/a"):
                with pytest.raises(BadInput) as error:
                    list_files(str(root / pattern))
                assert f"'{root}/shut" in str(error.value)
                assert "Permission denied" in str(error.value)
            listed = list_files(str(root / "*/*.tif"), unreadable_as_files=True)
        assert [f.uri for f in listed.files] == [f"{root}/open/a.tif", f"{root}/shut"]
    finally:
        (root / "shut").chmod(0o755)
        shutil.rmtree(root)


def test_a_name_in_another_encoding_is_one_line(tmp_path):
    (tmp_path / os.fsdecode(b"k\xfchn.tif")).touch()
    with pytest.raises(BadInput, match=r"k\\udcfchn\.tif': expected a name in UTF-8"):
        list_files(str(tmp_path))


def test_a_glob_ends_where_links_go_round(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.tif").touch()
    (tmp_path / "a" / "up").symlink_to("..")
    found = {os.path.realpath(uri) for uri in list_uris(str(tmp_path / "**/*.tif"))}
    assert found == {str(tmp_path / "a" / "x.tif")}


def test_what_wildcards_stand_for(tmp_path, store):
    for name in ("p1/images/x_w1.tif", "p2/images/y_w1.tif"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
        store.pipe(f"/bucket/plate/{name}", b"x")
    for root in (tmp_path, "memory://bucket/plate"):
        found = list_files(f"{root}/*/images/*_w1.tif").files
        assert [(f.folders, f.wild) for f in found] == [(("p1",), ("x",)), (("p2",), ("y",))]
        found = list_files(f"{root}/**/*.tif").files
        assert [f.folders for f in found] == [("p1", "images"), ("p2", "images")]


def test_the_same_file_is_the_same_by_any_way_there(tmp_path, store):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.tif").touch()
    (tmp_path / "link").symlink_to("real")
    ways = [f"{tmp_path}/real/a.tif", f"{tmp_path}/link/a.tif", f"file://{tmp_path}/real/a.tif"]
    assert len({Listed(way).identity for way in ways}) == 1
    assert Listed("gs://b/a.tif").identity == Listed("gcs://b/a.tif").identity
    assert Listed("memory://b/a.tif").identity == Listed("memory:///b/a.tif").identity


PARTS = st.sampled_from(["a", "b", "ab", "x1", ".h", "z.zarr"])
FILES = st.sampled_from(["a.tif", "ab.tif", "b.tif", "x1.tif", ".h.tif", "n.txt"])
PIECES = st.sampled_from(["*", "a*", "?", "[ab]", "**", "*1", "x?", "ab"])


@settings(max_examples=150, deadline=None)
@given(
    tree=st.sets(
        st.tuples(st.lists(PARTS, max_size=3), FILES).map(lambda t: (*t[0], t[1])), max_size=8
    ),
    pieces=st.lists(PIECES, max_size=3),
    last=st.sampled_from(["*.tif", "a*.tif", "?.tif", "*", "a.tif", "[!a]*.tif"]),
)
def test_globs_mean_what_the_standard_library_says(tree, pieces, last):
    with tempfile.TemporaryDirectory() as root:
        for parts in tree:
            path = Path(root, *parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        pattern = str(Path(root, *pieces, last))
        expected = sorted(
            path
            for path in glob.glob(pattern, recursive=True)
            if path.endswith((".tif", ".zarr"))
            # `**` does not look into a Zarr, which is one image.
            and not ("**" in pieces and ".zarr/" in path)
        )
        found = list_uris_or_none(pattern)
        if "**" in pieces:
            found = [path for path in found if ".zarr/" not in path]
        if glob.has_magic(pattern):
            assert found == sorted(set(expected))


def list_uris_or_none(pattern):
    try:
        return list_uris(pattern)
    except BadInput:
        return []


def test_a_folder_of_an_instruments_format_says_which_command_converts(tmp_path):
    for name in ("a.vsi", "notes.txt"):
        (tmp_path / name).touch()
    with pytest.raises(BadInput, match=r"bioformats2raw .*a\.vsi'? a\.zarr' makes"):
        list_files(str(tmp_path))
