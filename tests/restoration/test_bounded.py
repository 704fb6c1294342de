"""Deconvolution within a memory: planned before it starts, in files, gone on with after a kill."""

import numpy as np
import pytest

from cellmill.errors import BadInput
from cellmill.restoration import Microscope, deconvolve, make_psf
from cellmill.restoration.blocks import BlockedRichardsonLucy
from cellmill.restoration.bounded import RichardsonLucySettings, plan_memory
from cellmill.restoration.on_disk import deconvolve_on_disk
from cellmill.restoration.variation import Variation

PSF = make_psf(Microscope(1.0, 520, immersion_index=1.33), (0.3, 0.15, 0.15), (5, 9, 7))


class Killed(Exception):
    """Stands for the end of a process."""


def field(shape=(12, 40, 61)):
    image = np.random.default_rng(1).poisson(40, shape).astype(np.float32)
    image[..., 10:20, 20:30] += 300
    return image


def work(image, **how):
    return BlockedRichardsonLucy(image, PSF, side=16, background=5.0, **how)


def test_files_hold_what_memory_would(tmp_path):
    image = field()
    found = deconvolve_on_disk(work(image), tmp_path, 6)
    whole = deconvolve(image, PSF, iterations=6, background=5)
    assert np.abs(found.image - whole.image).max() <= 2e-4 * whole.image.max()
    assert len(found.curve) == 6
    for mine, its in zip(found.curve, whole.curve, strict=True):
        assert mine.divergence == pytest.approx(its.divergence, rel=1e-4)
        assert mine.change == pytest.approx(its.change, rel=1e-2)


@pytest.mark.parametrize("more", [{}, {"accelerate": True, "consensus": True}], ids=str)
@pytest.mark.parametrize("last", [1, 2, 5])
def test_a_killed_process_is_gone_on_with_to_the_same_bits(tmp_path, last, more):
    def kill(number, iteration):
        if number == last:
            raise Killed

    image = field()
    whole = deconvolve_on_disk(work(image, **more), tmp_path / "whole", 6, key="this")
    with pytest.raises(Killed):
        deconvolve_on_disk(work(image, **more), tmp_path / "cut", 6, key="this", progress=kill)
    done = []
    found = deconvolve_on_disk(
        work(image, **more), tmp_path / "cut", 6, key="this", progress=lambda n, _: done.append(n)
    )
    assert done == [*range(last + 1, 7)]
    assert np.array_equal(found.image, whole.image)
    assert found.curve == whole.curve


def test_total_variation_in_files_is_that_in_memory_and_gone_on_with(tmp_path):
    image, settings = field(), {"total_variation": 2e-3, "spacing": (0.3, 0.15, 0.15)}
    whole = deconvolve(image, PSF, iterations=6, background=5, **settings)
    varied = work(image, variation=Variation.of(2e-3, settings["spacing"], 3))
    found = deconvolve_on_disk(varied, tmp_path, 6, key="this")
    assert np.abs(found.image - whole.image).max() <= 1e-3 * whole.image.max()
    half = deconvolve_on_disk(varied, tmp_path / "half", 2, key="this")
    assert len(half.curve) == 2
    gone_on = deconvolve_on_disk(varied, tmp_path / "half", 6, key="this")
    assert np.array_equal(gone_on.image, found.image)


def test_other_work_is_begun_anew(tmp_path):
    deconvolve_on_disk(work(field()), tmp_path, 3, key="other")
    done = []
    image = field() + 1
    found = deconvolve_on_disk(
        work(image), tmp_path, 3, key="this", progress=lambda n, _: done.append(n)
    )
    assert done == [1, 2, 3]
    again = deconvolve_on_disk(work(image), tmp_path / "again", 3)
    assert np.array_equal(found.image, again.image)


@pytest.mark.parametrize("memory", [64, 200, 1000, 100_000])
def test_what_is_planned_fits_or_is_refused(memory):
    shape, psf = (200, 300, 400), (21, 21, 21)
    plan = plan_memory(shape, psf, RichardsonLucySettings(), 10**6)
    assert plan.blocks == 0
    try:
        within = plan_memory(shape, psf, RichardsonLucySettings(), memory)
    except BadInput as bad:
        assert "memory_mib" in str(bad)  # noqa: PT017
        assert memory < 200
        return
    assert (within.blocks == 0) == (plan.whole_mib <= memory)


def test_what_blocks_cannot_do_is_refused_before_it_starts():
    with pytest.raises(BadInput, match=r"memory_mib: expected \d+ for 200 × 300 × 400 voxels"):
        plan_memory((200, 300, 400), (9, 9, 9), RichardsonLucySettings(edges="same"), 100)


def test_what_more_is_kept_is_planned_too():
    shape, psf = (200, 300, 400), (9, 9, 9)
    plain, fast, careful = (
        plan_memory(shape, psf, RichardsonLucySettings(**more), 300)
        for more in ({}, {"accelerate": True}, {"accelerate": True, "consensus": True})
    )
    assert plain.blocks == fast.blocks == careful.blocks > 1
    assert fast.disk_mib == careful.disk_mib == pytest.approx(2 * plain.disk_mib, abs=1)
    with pytest.raises(BadInput, match=r"memory_mib: expected \d+ for one block"):
        plan_memory(shape, psf, RichardsonLucySettings(consensus=True), 100)
