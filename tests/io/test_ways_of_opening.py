"""Each kind of file, opened in each way, gives the same; of a remote one only what is asked for."""

import contextlib
import functools
import hashlib
import http.server
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cellmill.arrays.batch import Batch
from cellmill.arrays.zarr import create_zarr
from cellmill.errors import BadInput
from cellmill.io import uris, web
from cellmill.io.tiff.layout import open_image
from cellmill.io.tiff.read import read_channels
from tests.io.tiff.images import noise
from tests.launch.cloud import cloud_stand_ins as stand_ins

PIXELS = noise((256, 320))
LABELS = np.kron(np.arange(1, 81).reshape(8, 10), np.ones((32, 32))).astype("uint16")
SHIPPED = Path(__file__).parents[2] / "cellmill" / "models" / "nuclei"
WAYS = ("path", "file", "http", "http without ranges", "gs", "s3", "mount")


def files(folder):
    """One file of each kind, by the kind's name."""
    tifffile.imwrite(folder / "plain.tif", PIXELS, photometric="minisblack", metadata=None)
    options = {"photometric": "minisblack", "compression": "zlib", "tile": (64, 64)}
    about = {"axes": "CYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}
    tifffile.imwrite(folder / "a b.ome.tif", PIXELS[None], ome=True, metadata=about, **options)
    with tifffile.TiffWriter(folder / "pyramid.ome.tif", ome=True) as tif:
        tif.write(PIXELS, subifds=1, metadata={"axes": "YX"}, **options)
        tif.write(PIXELS[::2, ::2], subfiletype=1, **options)
    array = create_zarr(str(folder / "image.zarr"), {"image": (PIXELS.shape, "uint16", "YX")})
    array["image"][:] = PIXELS
    tifffile.imwrite(folder / "labels.tif", LABELS, photometric="minisblack", metadata=None)
    with tarfile.open(folder / "model.tar.gz", "w:gz") as tar:
        tar.add(SHIPPED, "cellmill-nuclei")


class Server(http.server.SimpleHTTPRequestHandler):
    """A folder's web server, with ranges if it is asked for; it counts what it sends."""

    protocol_version = "HTTP/1.1"
    ranges = True
    sent = 0
    requests = ()

    def log_message(self, *_):
        pass

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        type(self).requests += ((self.path, self.headers.get("Range")),)
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked and self.ranges:
            start, last = int(asked[1]), min(int(asked[2] or len(data)), len(data) - 1)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(data)}")
            data = data[start : last + 1]
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{path.stat().st_mtime_ns}"')
        self.end_headers()
        type(self).sent += len(data)
        with contextlib.suppress(ConnectionError):
            self.wfile.write(data)


@contextlib.contextmanager
def served(folder, ranges=True):
    class Mine(Server):
        pass

    Mine.ranges = ranges
    handler = functools.partial(Mine, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", Mine
        server.shutdown()


@contextlib.contextmanager
def reached(way, folder):
    """What comes before a file's name in its URI, and what the environment must hold."""
    stored = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    if way == "path":
        yield str(folder), {}
    elif way == "file":
        yield folder.as_uri(), {}
    elif way.startswith("http"):
        with served(folder, way == "http") as (root, _):
            yield root, {}
    elif way == "gs":
        with stand_ins.Bucket() as server:
            for name, path in stored.items():
                server.objects["some-bucket", f"in/{name}"] = path.read_bytes()
            yield (
                "gs://some-bucket/in",
                {"STORAGE_EMULATOR_HOST": server.url, "TENSORSTORE_GCS_HTTP_URL": server.url},
            )
    elif way == "s3":
        with stand_ins.S3() as server:
            for name, path in stored.items():
                server.objects[f"some-bucket/in/{name}"] = path.read_bytes()
            yield (
                "s3://some-bucket/in",
                {
                    "AWS_ENDPOINT_URL_S3": server.url,
                    "AWS_ACCESS_KEY_ID": "id",
                    "AWS_SECRET_ACCESS_KEY": "key",
                    "AWS_DEFAULT_REGION": "eu-central-1",
                },
            )
    else:
        yield "gs://some-bucket/in", {}


def stage(environment, mount, *arguments):
    """Run a stage by hand, in a process of its own; `/gcs` is a folder of ours if there is one."""
    begin = "import sys; from pathlib import Path; from cellmill.io import uris; "
    begin += f"uris.GCS_MOUNT = Path({str(mount)!r}); " if mount else ""
    code = begin + "from cellmill.contract.cli import main; sys.exit(main(sys.argv[1:]))"
    run = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return run


@pytest.mark.parametrize("way", WAYS)
def test_every_kind_of_file_opens_in_every_way(tmp_path, way):
    mount = tmp_path / "gcs" if way == "mount" else None
    folder = mount / "some-bucket" / "in" if mount else tmp_path / "in put"
    folder.mkdir(parents=True)
    files(folder)
    with reached(way, folder) as (root, environment):
        quoted = "a%20b" if way.startswith(("http", "file")) else "a b"
        names = ("plain.tif", f"{quoted}.ome.tif", "pyramid.ome.tif", "image.zarr")
        items = [{"image": f"{root}/{name}"} for name in names]
        items[0]["truth"] = f"{root}/labels.tif"
        out = tmp_path / "out"
        stage(
            environment,
            mount,
            "tiff_to_npz",
            *("--items", json.dumps(items), "--images", out / "images", "--truth", out / "truth"),
        )
        batch = Batch.open(out / "images")
        assert [entry.name for entry in batch.entries] == ["plain", "a b", "pyramid", "image"]
        for entry in batch.entries:
            np.testing.assert_array_equal(batch.read(entry, "image")[..., 0], PIXELS)
        truth = Batch.open(out / "truth")
        np.testing.assert_array_equal(truth.read(truth.entry("plain"), "labels"), LABELS)
        stage(
            {**environment, "XDG_CACHE_HOME": str(tmp_path / "cache")},
            mount,
            *("fetch_model", "--source", f"{root}/model.tar.gz", "--model", out / "model"),
        )
        for path in (p for p in SHIPPED.rglob("*") if p.is_file() and p.name != "model.json"):
            copy = out / "model" / path.relative_to(SHIPPED)
            assert copy.read_bytes() == path.read_bytes()


def four_channels(folder, **options):
    """A file of four channels of 2 MiB that nothing makes smaller."""
    data = noise((4, 1024, 1024))
    path = folder / "four.tif"
    tifffile.imwrite(path, data, photometric="minisblack", metadata={"axes": "CYX"}, **options)
    return path, data


@pytest.mark.parametrize("options", [{}, {"tile": (256, 256)}, {"compression": "zlib"}], ids=str)
def test_of_a_remote_file_one_channel_is_read(tmp_path, options):
    path, data = four_channels(tmp_path, **options)
    with served(tmp_path) as (root, server):
        with uris.open_uri(f"{root}/{path.name}") as file, open_image(file, path.name) as image:
            out = np.zeros((*image.shape, 1), image.dtype)
            read_channels(image, [2], out)
        assert np.array_equal(out[..., 0], data[2])
        assert data[0].nbytes <= server.sent < 1.3 * data[0].nbytes + (1 << 20)


def test_a_server_without_ranges_is_asked_once(tmp_path):
    path, data = four_channels(tmp_path)
    with served(tmp_path, ranges=False) as (root, server):
        with uris.open_uri(f"{root}/{path.name}") as file, open_image(file, path.name) as image:
            out = np.zeros((*image.shape, 4), image.dtype)
            read_channels(image, range(4), out)
        assert np.array_equal(out, np.moveaxis(data, 0, -1))
        assert len(server.requests) == 1
        assert isinstance(file.name, str)


def test_of_an_object_one_channel_is_read(tmp_path, monkeypatch):
    path, data = four_channels(tmp_path)
    with stand_ins.Bucket() as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        server.objects["some-bucket", "four.tif"] = path.read_bytes()
        uri = "gs://some-bucket/four.tif"
        with uris.open_uri(uri) as file, open_image(file, uri) as image:
            out = np.zeros((*image.shape, 1), image.dtype)
            read_channels(image, [2], out)
        assert np.array_equal(out[..., 0], data[2])
        asked = [r for r in server.requests if r[2].get("alt") == "media"]
        # A part is 4 MiB at most: a channel, and the blocks that hold directories.
        assert 1 <= len(asked) <= 8


def test_any_part_of_a_remote_file_is_its_part(tmp_path):
    content = noise((1 << 20,), "uint8").tobytes()
    (tmp_path / "a.bin").write_bytes(content)
    rng = np.random.default_rng(3)
    with served(tmp_path) as (root, _), uris.open_uri(f"{root}/a.bin") as file:
        for _ in range(50):
            start, length = rng.integers(0, len(content) + 99), rng.integers(0, 600_000)
            assert file.seek(start) == start
            assert file.read(length) == content[start : start + length]
        file.seek(-5, io.SEEK_END)
        assert file.read() == content[-5:]
        file.seek(0)
        assert hashlib.sha256(file.read()).digest() == hashlib.sha256(content).digest()


def test_an_empty_file_on_a_server(tmp_path):
    (tmp_path / "a.bin").touch()
    with served(tmp_path, ranges=False) as (root, _), uris.open_uri(f"{root}/a.bin") as file:
        assert file.read() == b""


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(1 << 20))
    with served(tmp_path) as (root, _), uris.open_uri(f"{root}/a.bin") as file:
        assert file.read(10) == bytes(10)
        path.write_bytes(b"1" * (1 << 20))
        file.seek(900_000)
        with pytest.raises(BadInput, match="it changed in the meantime"):
            file.read(10)


def test_a_download_that_does_not_fit_the_disk_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a.bin").write_bytes(bytes(1000))
    usage = type("Usage", (), {"free": (1 << 24) + 999})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with (
        served(tmp_path, ranges=False) as (root, _),
        pytest.raises(BadInput, match=r"expected room for .* [GM]B"),
    ):
        uris.open_uri(f"{root}/a.bin")


class Slow(http.server.BaseHTTPRequestHandler):
    """Answers and then sends nothing more, or a byte now and then."""

    protocol_version = "HTTP/1.1"
    drip = False

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(1200):
                if self.drip:
                    self.wfile.write(b"x")
                time.sleep(0.05)


@pytest.mark.parametrize("drip", [False, True])
def test_a_server_that_sends_nothing_more_is_given_up(monkeypatch, drip):
    monkeypatch.setattr(web, "TIMEOUT", (1.0, 0.5))
    monkeypatch.setattr(web, "_STALL", 0.5)
    monkeypatch.setattr(Slow, "drip", drip)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        begun = time.monotonic()
        with pytest.raises(BadInput, match="found a time-out") as error:
            uris.open_uri(f"http://127.0.0.1:{server.server_port}/a.tif?token=secret")
        assert time.monotonic() - begun < 30
        assert "secret" not in str(error.value)
        server.shutdown()


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_a_store_that_does_not_answer_is_given_up(monkeypatch, scheme):
    monkeypatch.setattr(uris, "STORE_TIMEOUT", 0.5)

    class Silent(http.server.BaseHTTPRequestHandler):
        def handle(self):
            time.sleep(20)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Silent) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        for name in ("STORAGE_EMULATOR_HOST", "AWS_ENDPOINT_URL_S3"):
            monkeypatch.setenv(name, url)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
            monkeypatch.setenv(name, "some")
        begun = time.monotonic()
        with pytest.raises(BadInput, match="found a time-out"):
            uris.open_uri(f"{scheme}://bucket-{server.server_port}/a.tif")
        assert time.monotonic() - begun < 60
        server.shutdown()
