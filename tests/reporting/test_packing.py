"""What is packed can be unpacked, to the value."""

import base64
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cellmill.reporting.packing import find_runs, pack_columns, pack_runs


def joined(data, start, count, planes):
    parts = np.frombuffer(data, np.uint8)[start : start + count * planes].reshape(planes, count)
    return sum(part.astype(np.int64) << (8 * index) for index, part in enumerate(parts))


def unpacked(packed):
    data = zlib.decompress(base64.b64decode(packed.data))
    values = joined(data, 0, packed.runs, packed.label_bytes)
    lengths = joined(data, packed.runs * packed.label_bytes, packed.runs, packed.length_bytes)
    assert len(data) == packed.runs * (packed.label_bytes + packed.length_bytes)
    return np.repeat(values, lengths)


@given(
    arrays(
        np.int64,
        array_shapes(min_dims=2, max_dims=2, max_side=20),
        elements=st.sampled_from([0, 1, 255, 256, 65535, 65536, 2**24, 2**31 - 1]),
    )
)
def test_labels_come_back(labels):
    assert np.array_equal(unpacked(pack_runs(*find_runs(labels))), labels.reshape(-1))


def test_fifty_thousand_cells_take_little_room():
    y, x = np.mgrid[:2240, :2240]
    labels = np.where((y % 10 < 8) & (x % 10 < 8), (y // 10) * 224 + x // 10 + 1, 0)
    packed = pack_runs(*find_runs(labels.astype(np.int32)))
    assert labels.max() == 50176
    assert len(packed.data) < 1_000_000
    assert np.array_equal(unpacked(packed), labels.reshape(-1))


def test_columns_come_back_as_float32():
    columns = [
        np.array([1, 2, 70000]),
        np.array([0.1, np.nan, -3.5e9]),
        np.array([True, False, True]),
    ]
    data = zlib.decompress(base64.b64decode(pack_columns(columns)))
    for index, column in enumerate(columns):
        planes = np.frombuffer(data, np.uint8)[index * 12 : index * 12 + 12].reshape(4, 3)
        found = np.ascontiguousarray(planes.T).view("<f4").reshape(-1)
        assert found == pytest.approx(column.astype(np.float32), nan_ok=True, abs=0)
