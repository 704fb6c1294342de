"""What frameworks publish is fetched by name, whole and verified, and only once."""

import hashlib
import socket

import pytest

from cellmill.errors import BadInput, CellmillError
from cellmill.models import download as downloading
from cellmill.models import published as publishing
from cellmill.models.published import (
    MIRROR_VARIABLE,
    fetch_files,
    is_published_name,
    published,
    published_names,
)
from tests.models.publisher import publisher

CONTENT = bytes(range(256)) * 3000


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty machine: no caches, nothing that a framework's program fetched."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CELLPOSE_LOCAL_MODELS_PATH", raising=False)
    monkeypatch.setattr(downloading, "_FIRST_WAIT_S", 0.01)
    return tmp_path / "cache" / "cellmill" / "published"


@pytest.fixture
def mirror(cache, monkeypatch):
    """A stand-in for the frameworks' servers."""
    files = {f"/cellpose/{name}": CONTENT for name in ("cyto3", "CP")}
    files |= {"/stardist/2D_demo.zip": CONTENT}
    with publisher(files) as state:
        monkeypatch.setenv(MIRROR_VARIABLE, state.url)
        yield state


def test_names_are_told_from_paths_and_uris():
    assert all(is_published_name(name) for name in published_names())
    assert is_published_name("CellPose:CYTO3")
    for other in ("", "cyto3", "models/cellpose", "s3://cellpose:x/y", "gs://stardist/a"):
        assert not is_published_name(other)


@pytest.mark.parametrize("name", published_names())
def test_a_name_has_a_public_address_and_a_place(name):
    found = published(name.upper())
    assert found.name == name
    assert found.address.startswith("https://")
    assert found.address.endswith(found.file)
    assert len(found.sha256) == (64 if name.startswith("stardist:") else 0)
    assert found.kind == ("nuclear" if "nuclei" in name or "stardist" in name else "whole_cell")


def test_a_name_that_there_is_not_is_one_line_with_those_that_there_are():
    with pytest.raises(BadInput, match=r"^model 'stardist:cyto3': expected one of .*2D_demo"):
        published("stardist:cyto3")


def test_files_are_fetched_once(mirror, cache):
    path = fetch_files(published("cellpose:CP"))
    assert path == cache / "cellpose" / "CP"
    assert path.read_bytes() == CONTENT
    assert fetch_files(published("cellpose:CP")) == path
    assert mirror.asked == [("/cellpose/CP", "")]


def test_a_download_that_is_cut_off_goes_on_where_it_stands(mirror):
    mirror.cuts = [100_000, 200_000]
    assert fetch_files(published("cellpose:CP")).read_bytes() == CONTENT
    assert [asked for _, asked in mirror.asked] == ["", "bytes=65536-", "bytes=262144-"]


@pytest.mark.parametrize("tag", ['W/"weak"', ""])
def test_without_a_validator_it_begins_anew(mirror, tag):
    mirror.cuts, mirror.tag = [100_000], tag
    assert fetch_files(published("cellpose:CP")).read_bytes() == CONTENT
    assert [asked for _, asked in mirror.asked] == ["", ""]


def test_a_part_that_was_not_asked_for_is_not_put_behind_the_rest(mirror):
    mirror.cuts, mirror.ranges = [100_000], ["bytes 0-1/2"]
    assert fetch_files(published("cellpose:CP")).read_bytes() == CONTENT
    assert [asked for _, asked in mirror.asked] == ["", "bytes=65536-", ""]


def test_what_is_not_what_was_published_is_refused_and_not_kept(mirror, cache, monkeypatch):
    name = "stardist:2D_demo"
    with pytest.raises(BadInput, match=r"^model 'stardist:2D_demo': expected sha256:a1efaebd7103"):
        fetch_files(published(name))
    assert not [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]
    right = hashlib.sha256(CONTENT).hexdigest()
    monkeypatch.setitem(publishing._STARDIST_SHA256, "2D_demo", right)
    assert fetch_files(published(name)).read_bytes() == CONTENT


def test_what_the_framework_s_own_program_has_fetched_is_taken(mirror, tmp_path, monkeypatch):
    kept = tmp_path / "own"
    kept.mkdir()
    monkeypatch.setenv("CELLPOSE_LOCAL_MODELS_PATH", str(kept))
    (kept / "nucleitorch_0").write_bytes(b"weights")
    assert fetch_files(published("cellpose:nuclei")) == kept / "nucleitorch_0"
    # Other bytes than were published are not.
    demo = published("stardist:2D_demo").kept
    demo.parent.mkdir(parents=True)
    demo.write_bytes(b"cut off")
    with pytest.raises(BadInput, match="expected sha256"):
        fetch_files(published("stardist:2D_demo"))
    assert [path for path, _ in mirror.asked] == ["/stardist/2D_demo.zip"]


def test_a_size_model_comes_with_the_network_that_has_one(mirror, cache):
    mirror.files["/cellpose/size_cyto3.npy"] = b"a size model"
    assert fetch_files(published("cellpose:cyto3")) == cache / "cellpose" / "cyto3"
    assert (cache / "cellpose" / "size_cyto3.npy").read_bytes() == b"a size model"
    fetch_files(published("cellpose:cyto3"))
    assert [path for path, _ in mirror.asked] == ["/cellpose/cyto3", "/cellpose/size_cyto3.npy"]
    # As cellpose calls them.
    beside = {name: published(f"cellpose:{name}").beside for name in ("cyto", "cyto2", "nuclei")}
    assert beside == {
        "cyto": "size_cytotorch_0.npy",
        "cyto2": "size_cyto2torch_0.npy",
        "nuclei": "size_nucleitorch_0.npy",
    }
    assert not published("cellpose:CP").beside


def test_a_network_does_without_a_size_model_that_its_server_lacks(mirror, cache, capsys):
    for _ in range(2):
        assert fetch_files(published("cellpose:cyto3")).read_bytes() == CONTENT
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "cellpose:cyto3 without size_cyto3.npy: model 'cellpose:cyto3': expected a download, found "
        "HTTP 404 from its server"
    ]
    assert [path for path, _ in mirror.asked] == ["/cellpose/cyto3", "/cellpose/size_cyto3.npy"]


def test_a_folder_can_be_the_mirror(cache, tmp_path, monkeypatch):
    monkeypatch.setenv(MIRROR_VARIABLE, str(tmp_path / "mirror"))
    (tmp_path / "mirror" / "cellpose").mkdir(parents=True)
    (tmp_path / "mirror" / "cellpose" / "cyto3").write_bytes(CONTENT)
    assert fetch_files(published("cellpose:cyto3")).read_bytes() == CONTENT
    with pytest.raises(CellmillError, match=r"CP'.*give the file itself"):
        fetch_files(published("cellpose:CP"))


def test_without_a_network_one_line_says_what_to_do(cache, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        monkeypatch.setenv(MIRROR_VARIABLE, f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(CellmillError) as caught:
            fetch_files(published("cellpose:nuclei"))
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith("model 'cellpose:nuclei': expected a download, found no answer from")
    assert "MODEL=path/to/nucleitorch_0" in said
    assert MIRROR_VARIABLE in said
    assert not [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]
