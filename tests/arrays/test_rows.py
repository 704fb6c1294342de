"""Bands cover an image once, and reading them reads every row once, in whole chunks."""

from itertools import zip_longest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmill.arrays.rows import RowReader, check_memory, read_windows, row_bands
from cellmill.arrays.windows import Plane
from cellmill.errors import BadInput
from tests.arrays.stored import Stored


@settings(deadline=None)
@given(
    st.integers(0, 40),
    st.integers(1, 9),
    st.integers(0, 6),
    st.floats(0, 400),
    st.sampled_from([None, 0, 1]),
)
def test_windows_show_each_band_with_its_halo_and_each_row_is_read_once(
    height, width, halo, budget, channel
):
    image = np.arange(height * width * 2).reshape(height, width, 2)
    expected = image if channel is None else image[..., channel]
    bands = row_bands((height, width), bytes_per_pixel=1, memory_mib=budget / 2**20, halo=halo)
    assert [row for band in bands for row in range(height)[band.rows]] == list(range(height))
    stored = Stored(image)
    readers = [RowReader(stored, channel), RowReader(image, channel)]
    for band, following in zip_longest(bands, bands[1:]):
        for window in read_windows(readers, band, following):
            np.testing.assert_array_equal(window, expected[band.window])
            np.testing.assert_array_equal(window[band.inner], expected[band.rows])
        around = range(max(band.rows.start - halo, 0), min(band.rows.stop + halo, height))
        assert range(height)[band.window] == around
    assert stored.rows() == list(range(height))


@pytest.mark.parametrize("width", [1000, 27_120, 300_000])
def test_reads_end_at_multiples_of_a_power_of_two_and_keep_to_the_budget(width):
    bands = row_bands((27_120, width), bytes_per_pixel=40, memory_mib=1024, halo=8)
    ends = [band.window.stop for band in bands[:-1]]
    step = ends[0]
    assert ends == [step * (k + 1) for k in range(len(ends))]
    assert step & (step - 1) == 0 or step % 512 == 0
    assert max(b.window.stop - b.window.start for b in bands) * width * 40 <= 1024 * 2**20


def test_windows_are_in_the_machines_byte_order():
    image = np.arange(12, dtype=">u2").reshape(4, 3)
    for source in (image, Stored(image)):
        bands = row_bands((4, 3), bytes_per_pixel=1, memory_mib=0, halo=1)
        reader = RowReader(source)
        for band, following in zip_longest(bands, bands[1:]):
            window = reader.read(band, following)
            assert window.dtype == np.dtype("=u2")
            assert window.tolist() == image[band.window].tolist()


@pytest.mark.parametrize("window", [np.s_[1:3], np.s_[1:3, 2:], np.s_[2], np.s_[:, 1], np.s_[0, 1]])
def test_a_plane_reads_like_the_array_it_shows(window):
    image = np.arange(60).reshape(4, 5, 3)
    stored = Stored(image)
    plane = Plane(stored, 1)
    assert (plane.shape, plane.dtype) == ((4, 5), image.dtype)
    np.testing.assert_array_equal(plane[window], image[..., 1][window])


def test_too_small_a_budget_is_refused():
    check_memory(64)
    with pytest.raises(BadInput, match="memory_mib: expected 64 MiB or more, found 63"):
        check_memory(63)
