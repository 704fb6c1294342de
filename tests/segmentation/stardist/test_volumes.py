"""StarDist's polyhedra: voxels, suppression and drawing against plain words of each."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmill.errors import BadInput
from cellmill.labels.numbering import canonical_labels
from cellmill.segmentation.interface import Maps
from cellmill.segmentation.stardist import volume_suppression
from cellmill.segmentation.stardist.parameters import StarDistParameters
from cellmill.segmentation.stardist.polyhedra import certain, polyhedra_of
from cellmill.segmentation.stardist.rays import golden_spiral
from cellmill.segmentation.stardist.suppression import KEPT
from cellmill.segmentation.stardist.volume_candidates import find_volume_candidates
from cellmill.segmentation.stardist.volume_drawing import draw_volume
from cellmill.segmentation.stardist.volume_suppression import overlap_closely, suppress_volumes
from cellmill.segmentation.stardist.volumes import segment_volume
from cellmill.segmentation.stardist.voxels import set_voxels, shared, words_of
from tests.segmentation.examples import EXAMPLES


def scattered(seed, count, side, rays=24, radius=6, anisotropy=(1.0, 1.0, 1.0)):
    """Polyhedra here and there, many of which overlap."""
    rng = np.random.default_rng(seed)
    points = rng.integers(0, side, (count, 3))
    lengths = radius * rng.uniform(0.4, 1.6, (count, 1)) * rng.uniform(0.8, 1.2, (count, rays))
    return polyhedra_of(points, lengths, golden_spiral(rays, anisotropy))


def bits_of(polyhedra, i):
    box = polyhedra.boxes[i]
    bits, doubtful = (np.zeros(words_of(box), np.uint64) for _ in range(2))
    corners = polyhedra.corners(i)
    set_voxels(polyhedra.centres[i], corners, polyhedra.faces, box, bits, doubtful)
    return box, bits, doubtful


def shown(box, bits):
    """Bits as bool `(Z, Y, X)` of the box."""
    x = np.arange(box[4], box[5] + 1) - (box[4] >> 6 << 6)
    return (bits[..., x >> 6] >> (x & 63).astype(np.uint64) & np.uint64(1)).astype(bool)


def within(polyhedra, i, box):
    """Which voxels lie in the tetrahedra of one, in double precision; and near which surface."""
    places = np.stack(
        np.meshgrid(*(np.arange(box[k], box[k + 1] + 1) for k in (0, 2, 4)), indexing="ij"), -1
    )
    centre = polyhedra.centres[i].astype(float)
    corners = polyhedra.corners(i).astype(float) - centre
    found = np.zeros(places.shape[:3], bool)
    near = np.zeros(places.shape[:3], bool)
    for face in polyhedra.faces:
        # A place as a sum of the three corners: within if none counts below 0, all together to 1.
        parts = np.linalg.solve(corners[face].T, (places - centre)[..., None])[..., 0]
        least = np.minimum(parts.min(axis=-1), 1 - parts.sum(axis=-1))
        found |= least >= 0
        near |= np.abs(least) < 1e-4
    return found, near


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), rays=st.sampled_from([7, 24, 96]))
def test_voxels_of_a_polyhedron_are_those_in_its_tetrahedra(seed, rays):
    polyhedra = scattered(seed, 1, 200, rays, anisotropy=(1.0 + seed % 3, 1.0, 1.0))
    box, bits, doubtful = bits_of(polyhedra, 0)
    found, near = within(polyhedra, 0, box)
    ours = shown(box, bits)
    np.testing.assert_array_equal(ours[~near], found[~near])
    assert ours[tuple(polyhedra.centres[0].astype(int) - box[::2])]
    # Where rounding may decide is near a surface, and rare.
    assert (shown(box, doubtful) & ~near).mean() < 0.01
    assert abs(ours.sum() - polyhedra.volumes[0]) < 3 * np.sqrt(ours.size) + 5


def test_the_voxels_that_two_share_are_counted():
    polyhedra = scattered(3, 30, 70, radius=9)
    for i in range(29):
        (box, bits, _), (other, others, _) = bits_of(polyhedra, i), bits_of(polyhedra, i + 1)
        both = np.zeros((2, 120, 120, 120), bool)
        for k, (where, which) in enumerate(((box, bits), (other, others))):
            window = tuple(slice(where[a] + 20, where[a + 1] + 21) for a in (0, 2, 4))
            both[k][window] = shown(where, which)
        assert shared(bits, box, others, other) == (both[0] & both[1]).sum()


def kept_plainly(polyhedra, threshold):
    """Each candidate against all that are kept, kernels and hulls computed for each pair."""
    kept = []
    limit = np.float32(threshold)
    for j in range(len(polyhedra)):
        for i in kept:
            said = certain(polyhedra.arrays, i, j, limit)
            if said == 2:
                (box, bits, _), (other, others, _) = bits_of(polyhedra, i), bits_of(polyhedra, j)
                said = overlap_closely(polyhedra, i, j, limit, shared(bits, box, others, other))
            if said:
                break
        else:
            kept.append(j)
    return kept


@pytest.mark.parametrize(
    ("seed", "threshold", "radius", "rays"),
    [(0, 0.3, 6, 24), (1, 0.5, 3, 12), (2, 0.1, 8, 40), (3, 0.6, 5, 8), (4, 0.0, 6, 24)],
)
def test_what_is_kept_is_what_going_through_all_pairs_keeps(seed, threshold, radius, rays):
    polyhedra = scattered(seed, 160, 30, rays, radius, (1.0, 1.0, 1.0 + seed / 2))
    kept = np.flatnonzero(suppress_volumes(polyhedra, threshold) == KEPT)
    np.testing.assert_array_equal(kept, kept_plainly(polyhedra, threshold))
    assert 5 < len(kept) < 155


def test_how_many_are_decided_on_at_once_does_not_matter(monkeypatch):
    polyhedra = scattered(7, 500, 50)
    expected = suppress_volumes(polyhedra, 0.3)
    for first, most, at_once in ((1, 1, 1), (500, 500, 7), (3, 64, 1000)):
        monkeypatch.setattr(volume_suppression, "_FIRST", first)
        monkeypatch.setattr(volume_suppression, "_MOST", most)
        monkeypatch.setattr(volume_suppression, "_AT_ONCE", at_once)
        np.testing.assert_array_equal(suppress_volumes(polyhedra, 0.3), expected)


@pytest.mark.parametrize("anisotropy", [(1.0, 1.0, 1.0), (3.0, 1.0, 1.0)])
def test_rays_are_spread_over_a_sphere_and_faces_close_it(anisotropy):
    rays = golden_spiral(96, anisotropy)
    np.testing.assert_allclose(np.linalg.norm(rays.vertices, axis=1), 1, atol=1e-6)
    # Euler: a closed surface of triangles.
    assert len(rays.faces) == 2 * len(rays) - 4
    edges = {
        tuple(edge) for face in rays.faces for edge in zip(face, np.roll(face, 1), strict=True)
    }
    assert all(edge[::-1] in edges for edge in edges)
    with pytest.raises(BadInput, match="rays of a volume: expected at least 4, found 3"):
        golden_spiral(3)


def test_the_likeliest_lies_on_top_and_of_equal_ones_the_last():
    points = np.array([[15, 15, 10], [15, 15, 16], [15, 15, 22]])
    polyhedra = polyhedra_of(points, np.full((3, 64), 6, np.float32), golden_spiral(64))
    for score, order in (((0.9, 0.8, 0.7), (3, 2, 1)), ((0.9, 0.5, 0.5), (2, 3, 1))):
        labels = np.zeros((31, 31, 33), np.int32)
        draw_volume(polyhedra, np.array(score, np.float32), labels)
        expected = np.zeros_like(labels)
        for number in order:
            box, bits, _ = bits_of(polyhedra, number - 1)
            window = tuple(slice(box[a], box[a + 1] + 1) for a in (0, 2, 4))
            expected[window][shown(box, bits)] = number
        np.testing.assert_array_equal(labels, expected)


def test_what_the_border_cuts_is_drawn_as_far_as_it_goes():
    points = np.array([[0, 2, 19], [9, 29, 1]])
    polyhedra = polyhedra_of(points, np.full((2, 48), 7, np.float32), golden_spiral(48))
    score = np.array([0.9, 0.8], np.float32)
    small, large = np.zeros((10, 30, 20), np.int32), np.zeros((30, 50, 40), np.int32)
    draw_volume(polyhedra, score, small)
    moved = polyhedra_of(points + 10, np.full((2, 48), 7, np.float32), golden_spiral(48))
    draw_volume(moved, score, large)
    np.testing.assert_array_equal(small, large[10:20, 10:40, 10:30])


def test_a_head_of_a_stride_gives_objects_at_the_volume_s_own_scale():
    given = EXAMPLES["stardist"].maps(12, (24, 50, 52))
    coarse = {role: array[::2, ::2, ::2] for role, array in given.items()}
    maps = Maps(coarse, {r: r for r in coarse}, (24, 50, 52), strides=dict.fromkeys(coarse, 2))
    parameters = StarDistParameters(0.3, border=0)
    every = find_volume_candidates(maps, parameters)
    assert (every.points % 2 == 0).all()
    assert every.points.max() > 26
    labels = segment_volume(maps, parameters)
    assert labels.shape == (24, 50, 52)
    assert labels.max() > 5
    np.testing.assert_array_equal(
        canonical_labels(segment_volume(maps, parameters, "reference")), labels
    )


def test_distances_that_no_memory_holds_are_refused_in_one_line():
    maps = Maps.of(
        probability=np.ones((5, 6, 7), np.float32), distances=np.full((5, 6, 7, 8), 1e5, np.float32)
    )
    with pytest.raises(BadInput, match=r"distances map: expected polyhedra within.*up to 100000"):
        segment_volume(maps, StarDistParameters(border=0))
