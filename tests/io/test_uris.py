"""Any name of a file opens, here, on a web server or in a store; what is missing is one line."""

import hashlib
import http.server
import os
import sys
import threading
from pathlib import Path
from urllib.parse import quote

import pytest
from fsspec.registry import _registry as REGISTERED

from cellmill.errors import BadInput
from cellmill.io import uris
from cellmill.io.digests import stamp
from cellmill.io.listing import list_uris
from cellmill.io.naming import name_of

ODD_NAMES = (
    "plain.tif",
    "with space.tif",
    'it\'s "quoted".tif',
    "a#b?c&d=e.tif",
    "100%25 %41.tif",
    "[1]*.tif",
    "zellkern-ä-µ-細胞.tif",
    "a:b.tif",
    "~tilde.tif",
)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_path_is_taken_letter_by_letter(tmp_path, name):
    (tmp_path / name).write_bytes(b"pixels")
    for uri in (str(tmp_path / name), (tmp_path / name).as_uri()):
        with uris.open_uri(uri) as file:
            assert file.seekable()
            assert file.read() == b"pixels"
        assert uris.exists(uri)
        assert uris.digest(uri) == f"sha256:{hashlib.sha256(b'pixels').hexdigest()}"
        assert name_of(uri) == Path(name).stem
    assert list_uris(str(tmp_path / name)) == [str(tmp_path / name)]
    assert list_uris(str(tmp_path)) == [str(tmp_path / name)]


def test_relative_paths_and_names_that_look_like_schemes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("gs:x.tif").write_bytes(b"a")
    assert uris.open_uri("gs:x.tif").read() == b"a"
    assert uris.local_path("file://localhost/a%20b") == Path("/a b")


@pytest.mark.parametrize("uri", ["nothing.tif", "/no/such/folder/a.tif", "file:///nothing%20here"])
def test_what_is_missing(uri):
    assert not uris.exists(uri)
    for function in (uris.open_uri, uris.digest, list_uris):
        with pytest.raises(BadInput) as error:
            function(uri)
        assert uri in str(error.value)
        assert "\n" not in str(error.value)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(BadInput, match="found a folder"):
        uris.open_uri(str(tmp_path))


@pytest.mark.parametrize("uri", ["", "a\0b"])
def test_no_name(uri):
    for function in (uris.open_uri, uris.exists, uris.digest, list_uris):
        with pytest.raises(BadInput, match="expected a path or a URI"):
            function(uri)


def test_what_would_be_waited_for_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "a.tif")
    for uri in (str(tmp_path / "a.tif"), "/dev/null"):
        with pytest.raises(BadInput, match=r"expected a file, found a (named pipe|device)"):
            uris.open_uri(uri)


def test_a_link_to_nowhere_says_where_it_leads(tmp_path):
    (tmp_path / "a.tif").symlink_to("/gone/a.tif")
    with pytest.raises(BadInput, match=r"found a link to '/gone/a\.tif', where nothing is"):
        uris.open_uri(str(tmp_path / "a.tif"))
    (tmp_path / "b.zarr" / "0").mkdir(parents=True)
    (tmp_path / "b.zarr" / "0" / "c").symlink_to("/gone/c")
    for function in (uris.digest, stamp):
        with pytest.raises(BadInput, match=r"link to '/gone/c'.* at '.*b\.zarr/0/c'"):
            function(str(tmp_path / "b.zarr"))


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    (tmp_path / "a.tif").touch()

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(BadInput, match="a file that can be read, found Permission denied"):
        uris.open_uri(str(tmp_path / "a.tif"))


@pytest.mark.parametrize(("scheme", "package"), [("gs", "gcsfs"), ("s3", "s3fs")])
def test_a_missing_package_is_named(scheme, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    # A test before this one may have loaded it.
    for name in (scheme, {"gs": "gcs"}.get(scheme, scheme)):
        monkeypatch.delitem(REGISTERED, name, raising=False)
    uri = f"{scheme}://bucket/a.tif"
    for function in (uris.open_uri, uris.exists, uris.digest, list_uris):
        with pytest.raises(BadInput) as error:
            function(uri)
        assert f"expected {package} installed (pip install 'cellmill[cloud]')" in str(error.value)


def test_an_unknown_scheme():
    with pytest.raises(BadInput, match="unknown scheme gopher://"):
        uris.open_uri("gopher://a/b.tif")


def test_a_mounted_bucket_is_read_where_it_is_mounted(tmp_path, monkeypatch):
    monkeypatch.setattr(uris, "GCS_MOUNT", tmp_path)
    (tmp_path / "bucket" / "a b").mkdir(parents=True)
    (tmp_path / "bucket" / "a b" / "c%20.tif").write_bytes(b"x")
    assert uris.open_uri("gs://bucket/a b/c%20.tif").read() == b"x"
    assert list_uris("gs://bucket/a b") == ["gs://bucket/a b/c%20.tif"]
    assert list_uris("gs://bucket/a b/c*") == ["gs://bucket/a b/c%20.tif"]


def test_a_store(store):
    with uris.open_uri("memory://bucket/p/a.tif") as file:
        file.seek(2)
        assert file.read() == b"a.tif"
    assert uris.exists("memory://bucket/p/a.tif")
    assert not uris.exists("memory://bucket/p/z.tif")
    with pytest.raises(BadInput, match="nothing there"):
        uris.open_uri("memory://bucket/p/z.tif")
    with pytest.raises(BadInput, match="nothing there"):
        uris.digest("memory://bucket/p/z.tif")


def test_a_stores_checksum_and_generation_are_the_digest(store, monkeypatch):
    def info(self, path, **_):
        return {"name": path, "size": 3, "type": "file", "crc32c": "AB==", "generation": "17"}

    monkeypatch.setattr(type(store), "info", info)
    assert uris.digest("memory://bucket/p/a.tif") == "crc32c:AB==+generation:17"
    monkeypatch.setattr(type(store), "info", lambda self, path: {"ETag": '"e1"', "VersionId": None})
    assert uris.digest("memory://bucket/p/a.tif") == "etag:e1"


def test_a_store_that_fails_is_one_line(store, monkeypatch):
    class NoCredentials(Exception):
        pass

    def fail(self, path, *_, **__):
        raise NoCredentials("no credentials\nat all")

    monkeypatch.setattr(type(store), "info", fail)
    monkeypatch.setattr(type(store), "open", fail)
    for function in (uris.open_uri, uris.digest):
        with pytest.raises(BadInput, match="found no credentials at all"):
            function("memory://bucket/p/a.tif")


class Handler(http.server.SimpleHTTPRequestHandler):
    etag = ""
    cut = False
    no_head = False

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        if self.no_head:
            self.send_error(405)
        else:
            super().do_HEAD()

    def end_headers(self):
        if self.etag:
            self.send_header("ETag", self.etag)
        super().end_headers()

    def copyfile(self, source, outputfile):
        outputfile.write(source.read()[: 3 if self.cut else None])


@pytest.fixture
def server(tmp_path):
    class Mine(Handler):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, directory=str(tmp_path), **kwargs)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mine) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield Mine, f"http://127.0.0.1:{found.server_port}"
        found.shutdown()


def test_a_web_server(tmp_path, server):
    handler, root = server
    name = "a b#ä.ome.tif"
    (tmp_path / name).write_bytes(b"pixels")
    uri = f"{root}/{quote(name)}?signature=x%2Fy"
    with uris.open_uri(uri) as file:
        file.seek(2)
        assert file.read() == b"xels"
    assert name_of(uri) == "a b#ä"
    assert list_uris(uri) == [uri]
    assert uris.exists(uri)
    assert uris.digest(uri) == f"sha256:{hashlib.sha256(b'pixels').hexdigest()}"
    handler.etag = '"abc"'
    assert uris.digest(uri) == "etag:abc"
    handler.etag = 'W/"abc"'
    assert uris.digest(uri).startswith("sha256:")
    handler.no_head = True
    assert uris.exists(uri)


def test_a_web_server_that_has_it_not(server):
    _, root = server
    assert not uris.exists(f"{root}/z.tif")
    for function in (uris.open_uri, uris.digest):
        with pytest.raises(BadInput, match="nothing there"):
            function(f"{root}/z.tif")


def test_a_download_that_is_cut_off(tmp_path, server):
    handler, root = server
    handler.cut = True
    (tmp_path / "a.tif").write_bytes(b"pixels")
    with pytest.raises(BadInput, match=r"a\.tif"):
        uris.open_uri(f"{root}/a.tif")


def test_no_server_at_all():
    with pytest.raises(BadInput, match="an answer from its server, found ConnectionError"):
        uris.open_uri("http://127.0.0.1:9/a.tif")
