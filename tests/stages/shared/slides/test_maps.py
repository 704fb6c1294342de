"""What of a shard is still to be predicted after it was cut off; where a head's channels go."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cellmill.arrays.windows import Box
from cellmill.stages.shared.slides.maps import ChannelsOf, box_named, name_of, remaining

BOX = Box(100, 180, 40, 150)


def strips(box, width):
    """As prediction goes through a box: strips from the left."""
    edges = [*range(box.x0, box.x1, width), box.x1]
    return [Box(box.y0, box.y1, *span) for span in itertools.pairwise(edges)]


@given(
    runs=st.lists(st.tuples(st.integers(10, 120), st.integers(5, 40), st.integers(0, 12))),
)
def test_nothing_is_left_out_however_often_work_is_cut_off(runs):
    """Each run has strips of its own width, writes blocks of its own height, and is cut off."""
    done = []
    seen = np.zeros((200, 200), bool)
    for width, height, blocks in runs:
        left = remaining(BOX, done)
        count = np.zeros_like(seen)
        for part in left:
            count[part.slices] = True
        missing = ~seen
        missing[: BOX.y0] = missing[BOX.y1 :] = missing[:, : BOX.x0] = missing[:, BOX.x1 :] = False
        np.testing.assert_array_equal(count, missing)
        for part in (strip for box in left for strip in strips(box, width)):
            for y in range(part.y0, part.y1, height):
                if blocks == 0:
                    break
                blocks -= 1
                block = Box(y, min(y + height, part.y1), part.x0, part.x1)
                seen[block.slices] = True
                done.append(block)
    assert remaining(BOX, [BOX]) == []


def test_with_the_same_strips_no_block_is_predicted_twice():
    first, second, third = strips(BOX, 40)
    done = [first, Box(100, 130, second.x0, second.x1)]
    assert remaining(BOX, done) == [
        Box(130, 180, second.x0, second.x1),
        Box(100, 180, third.x0, third.x1),
    ]


@given(st.tuples(*[st.integers(0, 2**40)] * 4))
def test_a_box_is_known_by_its_name(edges):
    assert box_named(name_of(Box(*edges))) == Box(*edges)


def test_a_head_is_written_into_the_arrays_of_the_channels_that_are_kept():
    values = np.random.default_rng(0).random((6, 7, 3), np.float32)
    arrays = [np.zeros((6, 7), np.float32) for _ in range(3)]
    kept = [*zip((2, 0, 2), arrays, strict=True)]
    parts = []
    head = ChannelsOf((6, 7, 3), kept, parts.append)
    head[2:6, 1:] = values[2:6, 1:]
    for channel, array in kept:
        np.testing.assert_array_equal(array[2:, 1:], values[2:, 1:, channel])
        assert not array[:2].any()
    assert parts == [Box(2, 6, 1, 7)]
