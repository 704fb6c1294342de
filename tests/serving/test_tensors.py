"""Arrays come back from the wire as they went, and what is none is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cellmill.errors import BadInput, CellmillError
from serving import tensors
from serving.refusals import TooLarge

DTYPES = [dtype for dtype in tensors.DATATYPES.values() if dtype.kind != "O"]
ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(
        dtype,
        hnp.array_shapes(max_dims=4, max_side=4),
        elements={"allow_nan": False, "allow_infinity": False} if dtype.kind == "f" else None,
    )
)


LARGE = 2**63 + 1


@pytest.mark.parametrize(
    ("values", "dtype"),
    [([0, LARGE], "uint64"), ([0.0, LARGE], "uint64"), ([1.0, -LARGE + 2], "int64")],
)
def test_large_integers_keep_each_digit_beside_small_ones(values, dtype):
    found = tensors.from_values(values, (2,), np.dtype(dtype), "tensor")
    assert found.tolist() == values
    assert found.dtype == dtype


@pytest.mark.parametrize("values", [[0.5, LARGE], [-1, LARGE], [0, LARGE * 2], [0.0, 1e30]])
@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_what_is_no_integer_of_the_range_is_refused_beside_large_ones(values, dtype):
    with pytest.raises(BadInput, match="tensor: expected"):
        tensors.from_values(values, (2,), np.dtype(dtype), "tensor")


@given(ARRAYS)
def test_bytes_and_lists_give_the_array_back(array):
    args = array.shape, array.dtype, "tensor"
    assert np.array_equal(tensors.from_bytes(tensors.to_bytes(array), *args), array)
    assert np.array_equal(tensors.from_values(array.tolist(), *args), array)
    assert np.array_equal(tensors.from_values(array.ravel().tolist(), *args), array)
    assert tensors.DATATYPES[tensors.datatype_of(array.dtype)] == array.dtype


@given(ARRAYS, st.sampled_from(["b64", "list"]), st.sampled_from(["", "zlib"]))
def test_a_document_gives_the_array_back(array, encoding, compression):
    document = tensors.to_document(array, encoding, compression)
    found = tensors.from_document(document, 1 << 20, "tensor")
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_texts_have_their_lengths_before(texts):
    data = b"".join(len(t.encode()).to_bytes(4, "little") + t.encode() for t in texts)
    found = tensors.from_bytes(data, (len(texts),), tensors.DATATYPES["BYTES"], "tensor")
    assert found.tolist() == texts
    if texts[-1]:
        with pytest.raises(BadInput, match="a part of one"):
            tensors.from_bytes(data[:-1], (len(texts),), tensors.DATATYPES["BYTES"], "tensor")


@given(st.binary(max_size=60), st.sampled_from(sorted(tensors.DATATYPES)))
def test_any_bytes_are_an_array_or_refused(data, name):
    try:
        found = tensors.from_bytes(data, (2, 3), tensors.DATATYPES[name], "tensor")
    except CellmillError:
        return
    assert found.shape == (2, 3)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([[0, 255]], "uint8"),
        ([[0, 256.0]], "uint16"),
        ([[0, 1 << 16]], "float32"),
        ([-1], "float32"),
    ],
)
def test_lists_without_a_type_take_the_smallest(values, dtype):
    assert tensors.from_document({"values": values}, 99, "tensor").dtype == dtype


def test_no_value_is_changed_by_its_type():
    for values, name in (([-1], "UINT64"), ([1 << 63], "INT64"), ([1e39], "FP32"), ([0.5], "INT8")):
        with pytest.raises(BadInput, match="tensor: expected values of"):
            tensors.from_values(values, (1,), tensors.DATATYPES[name], "tensor")


def test_what_would_be_too_large_is_refused_before_it_is_made():
    document = {"shape": [1 << 15, 1 << 15], "b64": "", "compression": "zlib"}
    with pytest.raises(TooLarge, match="at most 1000 bytes, found 1073741824"):
        tensors.from_document(document, 1000, "tensor")
