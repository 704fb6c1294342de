"""Deconvolution block by block: no bit depends on order or threads; rounding alone on the whole."""

import tracemalloc

import numpy as np
import pytest

from cellmill.errors import BadInput
from cellmill.restoration import Microscope, deconvolve, make_psf
from cellmill.restoration.blocks import BlockedRichardsonLucy
from cellmill.restoration.in_blocks import deconvolve_blocks
from cellmill.restoration.variation import Variation

PSF = make_psf(Microscope(1.0, 520, immersion_index=1.33), (0.3, 0.15, 0.15), (5, 9, 7))


def field(shape):
    random = np.random.default_rng(1)
    image = random.poisson(40, shape).astype(np.float32)
    image[..., 10:20, 20:30] += 300
    return image


def run(image, side, iterations=6, psf=PSF, **how):
    work = BlockedRichardsonLucy(image, psf, side=side, **how.pop("work", {}))
    found, _ = deconvolve_blocks(work, image.mean(dtype=np.float64), iterations, **how)
    return found[work.acquired_part]


def shuffled(blocks):
    return [blocks[i] for i in np.random.default_rng(0).permutation(len(blocks))]


@pytest.mark.parametrize("side", [8, 16, 24, 400])
@pytest.mark.parametrize("shape", [(12, 40, 61), (40, 61)])
def test_blocks_are_the_whole_but_for_rounding(side, shape):
    image, psf = field(shape), PSF if len(shape) == 3 else PSF[2]
    whole = deconvolve(image, psf, iterations=6, start=float(image.mean(dtype=np.float64)))
    # The whole starts from its mean beyond the acquired window too.
    found = run(image, side, psf=psf)
    assert np.abs(found - whole.image).max() <= 2e-4 * whole.image.max()


@pytest.mark.parametrize(
    "how",
    [
        {"order": lambda blocks: list(reversed(blocks))},
        {
            "order": lambda blocks: [
                blocks[i] for i in np.random.default_rng(0).permutation(len(blocks))
            ]
        },
        {"threads": 1},
        {"threads": 3},
    ],
    ids=["reversed", "shuffled", "one thread", "three threads"],
)
def test_order_and_threads_change_no_bit(how):
    image = field((12, 40, 61))
    assert np.array_equal(run(image, 16, **how), run(image, 16))


def test_iterations_can_be_stopped_and_gone_on_with():
    image = field((12, 40, 61))
    work = BlockedRichardsonLucy(image, PSF, side=16)
    whole, _ = deconvolve_blocks(work, 50, 5)
    half, _ = deconvolve_blocks(work, 50, 2)
    again = BlockedRichardsonLucy(image, PSF, side=16)
    assert np.array_equal(deconvolve_blocks(again, half, 3)[0], whole)


def test_background_and_saturation_are_those_of_the_whole():
    image = field((12, 40, 61))
    image[4:6, 12:15, 22:25] = 5000
    settings = {"background": 20.0, "saturation": 4000.0}
    start = 50.0
    whole = deconvolve(image, PSF, iterations=6, start=start, **settings).image
    work = BlockedRichardsonLucy(image, PSF, side=16, **settings)
    found = deconvolve_blocks(work, start, 6)[0][work.acquired_part]
    assert np.abs(found - whole).max() <= 2e-4 * whole.max()


def test_a_side_below_nothing_is_refused():
    with pytest.raises(BadInput, match="side: expected 0 or more"):
        BlockedRichardsonLucy(field((12, 40, 61)), PSF, side=-1)


@pytest.mark.parametrize("side", [8, 24, 400])
@pytest.mark.parametrize("shape", [(12, 40, 61), (40, 61)])
def test_total_variation_is_that_of_the_whole(side, shape):
    image, psf = field(shape), PSF if len(shape) == 3 else PSF[2]
    sizes = (0.3, 0.15, 0.15)[-len(shape) :]
    start = float(image.mean(dtype=np.float64))
    given = {"iterations": 8, "total_variation": 2e-3, "spacing": sizes, "start": start}
    whole = deconvolve(image, psf, **given).image
    variation = Variation.of(2e-3, sizes, len(shape))
    how = {"work": {"variation": variation, "level": start}, "iterations": 8}
    found = run(image, side, psf=psf, **how)
    assert np.abs(found - whole).max() <= 1e-3 * whole.max()
    without = run(image, side, psf=psf, iterations=8)
    assert np.abs(found - without).max() > 5e-3 * whole.max()
    for other in ({"order": shuffled}, {"threads": 3}):
        assert np.array_equal(run(image, side, psf=psf, **how, **other), found)


def test_a_flat_function_reads_the_voxel_that_total_variation_needs():
    image, variation = field((12, 40, 61)), {"variation": Variation(2e-3), "level": 40.0}
    whole = run(image, 400, psf=PSF[2:3], work=variation)
    assert np.abs(run(image, 5, psf=PSF[2:3], work=variation) - whole).max() <= 2e-4 * whole.max()


WAYS = {
    "accelerated": ({"accelerate": True}, 1e-3),
    # At the rim the whole looks for consensus across the edge, where its other end lies.
    "consensus": ({"consensus": True}, 2e-2),
    "both": ({"accelerate": True, "consensus": True}, 2e-2),
}


@pytest.mark.parametrize(
    ("side", "shape"), [(20, (12, 40, 61)), (400, (12, 40, 61)), (9, (40, 61))]
)
@pytest.mark.parametrize(("more", "most"), WAYS.values(), ids=WAYS)
def test_acceleration_and_consensus_are_those_of_the_whole(side, shape, more, most):
    image, psf = field(shape), PSF if len(shape) == 3 else PSF[2]
    start = float(image.mean(dtype=np.float64))
    whole = deconvolve(image, psf, iterations=6, start=start, **more)
    work = BlockedRichardsonLucy(image, psf, side=side, level=start, **more)
    found, sums = deconvolve_blocks(work, start, 6)
    difference = np.abs(found[work.acquired_part] - whole.image)
    assert difference.max() <= most * whole.image.max()
    assert np.quantile(difference, 0.9) <= 1e-4 * whole.image.max()
    for mine, its in zip(sums, whole.curve, strict=True):
        curve = mine.iteration(image.size)
        assert curve.divergence == pytest.approx(its.divergence, rel=1e-2)
        assert curve.agreed == pytest.approx(its.agreed, abs=1e-2)
    plain = deconvolve(image, psf, iterations=6, start=start).image
    assert np.abs(plain - whole.image).mean() > 50 * difference.mean()
    again, said = deconvolve_blocks(work, start, 6, order=shuffled, threads=3)
    assert np.array_equal(again, found)
    assert said == sums


def test_acceleration_in_blocks_takes_fewer_iterations():
    image = field((12, 40, 61))
    plain, fast = (
        deconvolve_blocks(BlockedRichardsonLucy(image, PSF, side=24, accelerate=way), 50, 20)[1]
        for way in (False, True)
    )
    assert fast[9].divergence < plain[19].divergence
    assert all(0 <= each.factor <= 1 for each in fast)
    assert all(each.factor == 0 for each in plain)


def test_consensus_ends_blocks_by_itself():
    image = np.random.default_rng(0).poisson(30, (12, 40, 61)).astype(np.float32)
    work = BlockedRichardsonLucy(image, PSF, side=24, consensus=True)
    found, sums = deconvolve_blocks(work, 30, 60)
    assert len(sums) < 60
    assert [each.ends for each in sums] == [False] * (len(sums) - 1) + [True]
    again, _ = deconvolve_blocks(work, 30, len(sums))
    assert np.array_equal(again, found)


def test_a_gain_of_nothing_is_refused():
    with pytest.raises(BadInput, match="gain: expected grey levels a photon, above 0"):
        BlockedRichardsonLucy(field((12, 40, 61)), PSF, consensus=True, gain=0)


@pytest.mark.parametrize("more", [{}, {"variation": Variation(1e-3)}], ids=["plain", "variation"])
@pytest.mark.parametrize("consensus", [False, True])
def test_a_block_takes_what_was_planned(consensus, more):
    image = np.random.default_rng(0).poisson(50, (100, 100, 100)).astype(np.float32)
    psf = make_psf(Microscope(1.0, 520, immersion_index=1.33), (0.3, 0.15, 0.15), (9, 9, 9))
    how = {"side": 48, "level": 50.0, "accelerate": True, "consensus": consensus, **more}
    place = BlockedRichardsonLucy(image, psf, **how).blocks[0]
    objects = [np.full((108, 108, 108), 50 + k, np.float32) for k in range(3)]
    tracemalloc.start()
    work = BlockedRichardsonLucy(image, psf, **how)
    work.block(place, objects, (0.5, 0.5))
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken <= work.bytes_per_block


def test_where_all_was_measured_none_of_it_is_computed():
    image = field((40, 80, 81))
    whole = BlockedRichardsonLucy(image, PSF, side=16)
    inside = (slice(16, 32), slice(32, 48), slice(32, 48))
    assert inside in whole.blocks
    objects = [np.full(whole.shape, 40, np.float32)]
    found = whole.block(inside, objects).image
    # One voxel far away that was not measured is nothing to this block.
    image[0, -1, -1] = 1e6
    other = BlockedRichardsonLucy(image, PSF, side=16, saturation=1e5)
    assert np.array_equal(other.block(inside, objects).image, found)
