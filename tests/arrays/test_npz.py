"""An aligned .npz is an ordinary .npz, is read by window, and appears whole or not at all."""

import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cellmill.arrays.npz import ALIGNMENT, create_npz, read_npz, write_npz
from cellmill.errors import BadInput

ARRAYS = st.dictionaries(
    st.text("abc_0", min_size=1, max_size=8),
    hnp.arrays(
        st.sampled_from(["u1", "u2", "i4", "i8", "f4", "f8", "?"]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6),
    ),
    min_size=1,
    max_size=4,
)


@given(arrays=ARRAYS)
def test_numpy_and_zipfile_read_what_is_written(tmp_path_factory, arrays):
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    write_npz(path, arrays)
    with np.load(path, allow_pickle=False) as loaded:
        assert set(loaded) == set(arrays)
        for key, array in arrays.items():
            np.testing.assert_array_equal(loaded[key], array)
            assert loaded[key].dtype == array.dtype
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    for key, array in read_npz(path).items():
        np.testing.assert_array_equal(array, arrays[key])


@given(arrays=ARRAYS)
def test_files_of_numpy_are_read(tmp_path_factory, arrays):
    folder = tmp_path_factory.mktemp("npz")
    np.savez(folder / "stored.npz", **arrays)
    np.savez_compressed(folder / "compressed.npz", **arrays)
    for path in folder.iterdir():
        read = read_npz(path)
        assert set(read) == set(arrays)
        for key in arrays:
            np.testing.assert_array_equal(read[key], arrays[key])


def test_arrays_lie_at_aligned_offsets_and_are_not_written_to(tmp_path):
    write_npz(tmp_path / "a.npz", {"image": np.ones((3, 5), "u2"), "b": np.arange(7.0)})
    for array in read_npz(tmp_path / "a.npz").values():
        # The first value's offset is that of the member and its .npy header, both aligned.
        assert array.offset % ALIGNMENT == 0
        with pytest.raises(ValueError, match="open for reading"):
            array[0] = 1


WINDOWS = st.tuples(
    *[
        st.one_of(
            st.integers(-4, 3),
            st.slices(9).filter(lambda s: s.step is None or s.step > 0),
        )
        for _ in range(2)
    ]
)


@given(window=WINDOWS, lead=st.booleans())
def test_windows_are_numpys(tmp_path_factory, window, lead):
    array = np.arange(4 * 5 * 2).reshape(4, 5, 2)
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    write_npz(path, {"x": array})
    index = (..., window[1]) if lead and isinstance(window[1], slice) else window
    np.testing.assert_array_equal(read_npz(path)["x"][index], array[index])


def test_reading_windows_leaves_no_pages_mapped(tmp_path):
    rows, width = 4096, 8192
    with create_npz(tmp_path / "a.npz", {"x": ((rows, width), "f4")}) as out:
        for y in range(0, rows, 512):
            out["x"][y : y + 512] = y
    before = resident()
    array = read_npz(tmp_path / "a.npz")["x"]
    most = 0
    for y in range(0, rows, 128):
        assert array[y : y + 128].max() == y // 512 * 512
        most = max(most, resident() - before)
    assert most < rows * width * 4 / 4


def resident():
    """Resident memory of this process now, bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_windows_fill_an_array_that_starts_as_zeros(tmp_path):
    with create_npz(tmp_path / "a.npz", {"image": ((4, 6), "f4")}) as arrays:
        arrays["image"][1:3, 2:4] = 7
    expected = np.zeros((4, 6), "f4")
    expected[1:3, 2:4] = 7
    np.testing.assert_array_equal(read_npz(tmp_path / "a.npz")["image"], expected)


def test_equal_arrays_make_equal_files(tmp_path):
    for name in ("a", "b"):
        write_npz(tmp_path / f"{name}.npz", {"x": np.arange(100)})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_an_error_leaves_nothing(tmp_path):
    def fail():
        with create_npz(tmp_path / "a.npz", {"image": ((4, 6), "f4")}) as arrays:
            arrays["image"][:] = 1
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_more_than_four_gigabytes(tmp_path):
    rows = (1 << 32) // 65536 + 3
    with create_npz(tmp_path / "big.npz", {"a": ((rows, 65536), "u1"), "b": ((2,), "u1")}) as out:
        out["a"][-1, -1] = 9
        out["b"][:] = 5
    arrays = read_npz(tmp_path / "big.npz")
    assert arrays["a"][-1, -1] == 9
    assert arrays["b"][:].tolist() == [5, 5]
    with np.load(tmp_path / "big.npz") as loaded:
        assert loaded["b"].tolist() == [5, 5]


@pytest.mark.parametrize("keep", [0, 10, 100, 400, -1])
def test_a_truncated_file_is_refused(tmp_path, keep):
    path = tmp_path / "a.npz"
    write_npz(path, {"image": np.arange(200)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadInput, match=r"a\.npz"):
        read_npz(path)


def test_pickled_objects_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(BadInput, match="plain arrays"):
        read_npz(tmp_path / "a.npz")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(BadInput, match="nothing there"):
        read_npz(tmp_path / "none.npz")


@pytest.mark.parametrize(
    "window",
    [
        np.s_[...],
        np.s_[:],
        np.s_[3:7],
        np.s_[3:7, :, 0],
        np.s_[-4:, :, -1],
        np.s_[2:5, 1:4],
        np.s_[::2],
        np.s_[6:2:-1],
        np.s_[4],
        np.s_[:0],
        np.s_[:, 2],
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_windows_are_written_as_numpy_writes_them(tmp_path, window, channels):
    expected = np.random.default_rng(0).integers(0, 99, (9, 5, channels), np.uint16)
    values = np.random.default_rng(1).integers(100, 200, expected[window].shape)
    with create_npz(tmp_path / "a.npz", {"a": (expected.shape, np.uint16)}) as out:
        out["a"][...] = expected
        out["a"][window] = values
        out["a"][8:] = 7
    expected[window] = values
    expected[8:] = 7
    assert np.array_equal(np.load(tmp_path / "a.npz")["a"], expected)
