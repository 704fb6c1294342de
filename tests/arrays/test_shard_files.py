"""Of a recorded array no shard that is lost, cut off, altered or another's is read as pixels."""

import shutil
import uuid

import numpy as np
import pytest

from cellmill.arrays.store import key_values
from cellmill.arrays.zarr import create_zarr, open_zarr
from cellmill.compute.threads import in_threads
from cellmill.errors import BadInput
from tests.arrays.buckets import bucket_of

SHARD = 256
SHAPE = (700, 600, 2)
#: Noise: each shard has its own bytes, and some have as many as others.
IMAGE = np.random.default_rng(5).integers(0, 2**16, SHAPE, "uint16")
PLACES = [(c, y, x) for c in range(2) for y in range(3) for x in range(3)]


@pytest.fixture(params=["path", "memory", "gs", "s3"])
def root(request, tmp_path, monkeypatch):
    if request.param in ("gs", "s3"):
        return bucket_of(request.param, monkeypatch)[0]
    return {"path": str(tmp_path), "memory": f"memory://{uuid.uuid4()}"}[request.param]


def written(root, name="a"):
    array = create_zarr(f"{root}/{name}.zarr", {"image": (SHAPE, "uint16", "YXC")}, shard=SHARD)
    array["image"][:] = IMAGE
    return f"{root}/{name}.zarr/image/0", array["image"]


def key(place):
    return "c/" + "/".join(map(str, place))


def damage(uri, place, how):
    """Do to a shard what disks, programs and people do."""
    store, name = key_values(uri), key(place)
    content = store.read(name).result().value
    other = store.read(key(PLACES[PLACES.index(place) - 1])).result().value
    middle = len(content) // 2
    changed = {
        "removed": None,
        "cut off": content[:middle],
        "emptied": b"",
        "a bit": content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :],
        "another shard": other,
        "no record": content,
    }[how]
    store.write(name, changed).result()
    if how == "no record":
        store.write(".shards/" + ".".join(map(str, place)), None).result()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("removed", "missing"),
        ("cut off", "bytes, written with"),
        ("emptied", "of 0 bytes, written with"),
        ("a bit", "altered since it was written"),
        ("another shard", "written"),
        ("no record", "without a record"),
    ],
)
def test_damage_is_found_before_anything_is_read_and_mended_by_writing(root, how, said):
    uri, array = written(root)
    assert np.array_equal(np.asarray(open_zarr(uri, "YXC")), IMAGE)
    place = PLACES[np.random.default_rng(len(how)).integers(len(PLACES))]
    damage(uri, place, how)
    with pytest.raises(BadInput) as error:
        open_zarr(uri, "YXC")
    line = str(error.value)
    assert "\n" not in line
    assert f"array '{uri}'" in line
    assert f"shard {key(place)} " in line
    assert said in line
    for c, y, x in PLACES:
        box = (slice(y * SHARD, y * SHARD + 9), slice(x * SHARD, x * SHARD + 9), c)
        assert array.is_intact(box) == ((c, y, x) != place)
    c, y, x = place
    window = (slice(y * SHARD, (y + 1) * SHARD), slice(x * SHARD, (x + 1) * SHARD), c)
    array[window] = IMAGE[window]
    assert array.is_intact(...)
    assert np.array_equal(np.asarray(open_zarr(uri, "YXC")), IMAGE)


def test_what_was_never_written_is_not_read_as_zeros(root):
    uri = f"{root}/a.zarr"
    array = create_zarr(uri, {"labels": ((700, 600), "int32", "YX")}, shard=SHARD)["labels"]
    for y in (0, 256, 512):
        # All but a shard's last columns.
        array[y : y + 256, :500] = 0
    with pytest.raises(BadInput, match=r"'.*a\.zarr/labels/0'.* shard c/0/2 never written \(and 2"):
        open_zarr(f"{uri}/labels/0", "YX")
    array[:, 512:] = 0
    half = open_zarr(f"{uri}/labels/0", "YX")
    # Zeros that were written are zeros; a chunk that was not is none.
    assert not half[:, :500].any()
    array[:, 500:] = 0
    assert not np.asarray(open_zarr(f"{uri}/labels/0", "YX")).any()


def test_a_chunk_within_a_shard_that_was_never_written_is_not_read_as_zeros(tmp_path):
    uri = str(tmp_path / "a.zarr")
    array = create_zarr(uri, {"labels": ((700, 600), "int32", "YX")})["labels"]
    array[:256] = 7
    with pytest.raises(BadInput, match=r"labels/0"):
        open_zarr(f"{uri}/labels/0", "YX")[300, 300]


def test_a_copy_of_a_store_is_as_whole_as_the_store(tmp_path):
    uri, _ = written(tmp_path)
    shutil.copytree(tmp_path / "a.zarr", tmp_path / "b.zarr")
    copy = f"{tmp_path}/b.zarr/image/0"
    assert np.array_equal(np.asarray(open_zarr(copy, "YXC")), IMAGE)
    damage(copy, (1, 2, 0), "another shard")
    with pytest.raises(BadInput, match="shard c/1/2/0"):
        open_zarr(copy, "YXC")
    assert np.array_equal(np.asarray(open_zarr(uri, "YXC")), IMAGE)


def test_a_shard_that_was_written_after_its_record_is_not_taken_for_the_recorded_one(tmp_path):
    """A process is killed between the two."""
    _, array = written(tmp_path)
    records = tmp_path / "a.zarr/image/0/.shards"
    kept = (records / "0.1.1").read_bytes()
    array[256:300, 256:300, 0] = 0
    (records / "0.1.1").write_bytes(kept)
    assert not array.is_intact((300, 300, 0))
    assert array.is_intact((slice(None), slice(0, 256)))
    (records / "0.1.1").write_bytes(kept[: len(kept) // 2])
    assert not array.is_intact((300, 300, 0))


def test_threads_record_what_each_of_them_writes(root):
    uri = f"{root}/a.zarr"
    create_zarr(uri, {"image": (SHAPE, "uint16", "YXC")}, shard=SHARD)

    def fill(place):
        c, y, x = place
        window = (slice(y * SHARD, (y + 1) * SHARD), slice(x * SHARD, (x + 1) * SHARD), c)
        open_zarr(f"{uri}/image/0", "YXC", write=True)[window] = IMAGE[window]

    in_threads(fill, PLACES, threads=6)
    assert np.array_equal(np.asarray(open_zarr(f"{uri}/image/0", "YXC")), IMAGE)
