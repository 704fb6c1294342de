"""Images in buckets that are mounted nowhere, through the stores' real clients, over HTTP."""

import io

import fsspec
import numpy as np
import pytest
import tifffile

from cellmill.arrays.batch import Batch
from cellmill.contract.cli import main
from cellmill.errors import BadInput
from cellmill.io import uris
from cellmill.io.listing import list_uris
from tests.launch.cloud import cloud_stand_ins as stand_ins

NAMES = ("p/a b.tif", "p/c.tif", "p/notes.txt", "p/deep/d.tif")


@pytest.fixture(params=["gs", "s3"])
def bucket(request, monkeypatch):
    """A bucket's URI, and what puts bytes there."""
    if request.param == "gs":
        with stand_ins.Bucket() as server:
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
            yield "gs://some-bucket", lambda k, v: server.objects.update({("some-bucket", k): v})
    else:
        with stand_ins.S3() as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")
            monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
            yield "s3://some-bucket", lambda k, v: server.objects.update({f"some-bucket/{k}": v})
    forget()


def forget():
    """Let the clients know nothing of what they listed."""
    for kind in ("gcs", "s3"):
        fsspec.get_filesystem_class(kind).clear_instance_cache()


def test_a_bucket_is_listed_asked_and_read_in_parts(bucket):
    root, put = bucket
    for name in NAMES:
        put(name, name.encode() * 100_000)
    assert list_uris(f"{root}/p") == [f"{root}/p/a b.tif", f"{root}/p/c.tif"]
    assert list_uris(f"{root}/**/d*.tif") == [f"{root}/p/deep/d.tif"]
    assert uris.exists(f"{root}/p/a b.tif")
    assert not uris.exists(f"{root}/p/none.tif")
    with uris.open_uri(f"{root}/p/a b.tif") as file:
        file.seek(900_000 - 4)
        assert file.read() == b".tif"
    with pytest.raises(BadInput, match="nothing there"):
        uris.open_uri(f"{root}/p/none.tif")


def test_changed_bytes_have_another_digest(bucket):
    root, put = bucket
    put("c.tif", b"bytes")
    before = uris.digest(f"{root}/c.tif")
    assert before.split(":")[0] in ("md5hash", "etag")
    forget()
    assert uris.digest(f"{root}/c.tif") == before
    put("c.tif", b"other bytes")
    forget()
    assert uris.digest(f"{root}/c.tif") != before


def test_an_image_is_converted_from_where_it_lies(bucket, tmp_path):
    root, put = bucket
    image = np.random.default_rng(1).integers(0, 4096, (70, 50), np.uint16)
    data = io.BytesIO()
    tifffile.imwrite(data, image, compression="zlib")
    put("images/a.tif", data.getvalue())
    outputs = ["--images", str(tmp_path / "images"), "--truth", str(tmp_path / "truth")]
    assert main(["tiff_to_npz", "--items", f"{root}/images/a.tif", *outputs]) == 0
    batch = Batch.open(tmp_path / "images")
    np.testing.assert_array_equal(batch.read(batch.entry("a"), "image")[..., 0], image)
