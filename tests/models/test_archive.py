"""Nothing but plain files below the target ever comes out of an archive."""

import contextlib
import io
import tarfile
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmill.errors import BadInput
from cellmill.models.archive import extract, is_archive


def tar(path, *members, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for member in members:
            info, data = member if isinstance(member, tuple) else (member, None)
            if isinstance(info, str):
                info = tarfile.TarInfo(info)
            if data is not None:
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data) if data is not None else None)
    return path


def special(name, kind, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "deep" / "target"
    folder.mkdir(parents=True)
    return folder


def refused(archive, target, match, **bounds):
    before = {p for p in target.parents[1].rglob("*") if target not in p.parents}
    with pytest.raises(BadInput, match=match) as error:
        extract(archive, target, **bounds)
    assert "\n" not in str(error.value)
    assert {p for p in target.parents[1].rglob("*") if target not in p.parents} == before
    assert all(not p.is_symlink() for p in target.rglob("*"))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_comes_out_whole(tmp_path, target, mode):
    archive = tar(
        tmp_path / "a",
        special("./", tarfile.DIRTYPE),
        special("m", tarfile.DIRTYPE),
        ("m/saved_model.pb", b"graph"),
        ("./m/variables/x", b"w" * 3_000_000),
        mode=mode,
    )
    extract(archive, target)
    assert (target / "m/saved_model.pb").read_bytes() == b"graph"
    assert (target / "m/variables/x").stat().st_size == 3_000_000


def test_zip_comes_out_whole(tmp_path, target):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/", b"")
        archive.writestr("m/saved_model.pb", b"graph" * 1000)
    extract(tmp_path / "a.zip", target)
    assert (target / "m/saved_model.pb").read_bytes() == b"graph" * 1000


@pytest.mark.parametrize("name", ["/etc/cellmill", "../escaped", "m/../../escaped", "a\\..\\b"])
def test_escaping_names_are_refused(tmp_path, target, name):
    refused(tar(tmp_path / "a", (name, b"x")), target, "names below its own folder")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, b"x")
    refused(tmp_path / "a.zip", target, "names below its own folder")


@pytest.mark.parametrize(
    "member",
    [
        special("m/link", tarfile.SYMTYPE, "/etc/passwd"),
        special("m/link", tarfile.SYMTYPE, "sibling"),
        special("m/hard", tarfile.LNKTYPE, "m/a"),
        special("m/fifo", tarfile.FIFOTYPE),
        special("m/disk", tarfile.BLKTYPE),
        special("m/tty", tarfile.CHRTYPE),
    ],
)
def test_links_and_devices_are_refused(tmp_path, target, member):
    refused(tar(tmp_path / "a", ("m/a", b"x"), member), target, "files and folders only")


def test_link_in_a_zip_is_refused(tmp_path, target):
    info = zipfile.ZipInfo("m/link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    refused(tmp_path / "a.zip", target, "link or device")


def test_bombs_are_refused(tmp_path, target):
    archive = tar(tmp_path / "a", ("m/big", b"\0" * 2_000_000))
    refused(archive, target, "at most 10000 files and 1000 bytes", max_bytes=1000)
    assert not list(target.rglob("*.*"))
    many = tar(tmp_path / "b", *((f"m/{i}", b"x") for i in range(20)))
    refused(many, target, "at most 10 files", max_files=10)


def test_member_twice_is_refused(tmp_path, target):
    refused(tar(tmp_path / "a", ("m/a", b"1"), ("m/a", b"2")), target, "twice")


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_damage_is_bad_input_or_harmless(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damage")
    archive = tar(folder / "a", ("m/saved_model.pb", bytes(range(256)) * 40))
    raw = bytearray(archive.read_bytes())
    if data.draw(st.booleans()):
        del raw[data.draw(st.integers(0, len(raw) - 9)) :]
    else:
        raw[data.draw(st.integers(10, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    archive.write_bytes(bytes(raw))
    out = folder / "out"
    out.mkdir()
    with contextlib.suppress(BadInput):
        extract(archive, out)
        if (out / "m/saved_model.pb").is_file():
            assert (out / "m/saved_model.pb").stat().st_size == 256 * 40


def test_not_an_archive(tmp_path, target):
    (tmp_path / "a").write_bytes(b"<html>not found</html>")
    assert not is_archive(tmp_path / "a")
    refused(tmp_path / "a", target, "something else")
