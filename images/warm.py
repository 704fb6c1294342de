"""Compiles cellmill's numba kernels at an image's build, by running what stages run, in small.

The cache is for all processors that `CELLMILL_KERNEL_TARGETS` names and that the machine which
builds the image can be: a process for each.
"""

import os
import subprocess
import sys

import numpy as np

import cellmill
from cellmill.compute.targets import VARIABLE, usable_targets
from cellmill.datasets.phantoms import spheres
from cellmill.models.card import ModelCard, known_cards
from cellmill.models.shipped import shipped_models
from cellmill.preprocessing import preprocess
from cellmill.restoration import deconvolve
from cellmill.segmentation.cellpose import flows_of
from cellmill.segmentation.interface import IMAGE, Maps
from cellmill.segmentation.methods import find_method, segment

SHAPE = (96, 96)
VOLUME = (16, 48, 48)


def main(given: list[str]) -> int:
    """Run this program once for each target, side by side; without one, for this machine."""
    targets = [] if given else list(usable_targets(os.environ.get(VARIABLE, "")))
    if not targets:
        images()
        other_methods()
        volumes()
        return 0
    own = ({"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": each} for name, each in targets)
    program = [sys.executable, __file__, "for one"]
    running = [subprocess.Popen(program, env={**os.environ, **each}) for each in own]
    return max(each.wait() for each in running)


def images() -> None:
    """Preprocess, segment and measure a disc as each card asks for."""
    y, x = np.indices(SHAPE)
    disc = np.clip(1 - np.hypot(y - 48, x - 48) / 30, 0, 1).astype(np.float32)
    shipped = [ModelCard.load(folder) for folder in shipped_models().values()]
    for card in (*known_cards().values(), *shipped):
        channels = np.repeat(disc[..., None], len(card.input.channels), axis=2)
        heads = {h.name: np.repeat(disc[..., None], h.channels, axis=2) for h in card.heads}
        # A method may read the image itself, as a network would be shown it.
        heads[IMAGE] = preprocess(channels, card.preprocessing)
        for name in card.compartments:
            labels = segment(card, heads, name)[name]
    for grey in (disc * 255).astype(np.uint8), (disc * 4000).astype(np.uint16), disc:
        measured(labels, grey)


def other_methods() -> None:
    """Segment a square by the methods that no card here names."""
    square = np.zeros(SHAPE, np.int32)
    square[30:60, 30:60] = 1
    inside = square.astype(np.float32)
    rays = np.full((*SHAPE, 32), 12, np.float32)
    for name, maps in (
        ("stardist", {"probability": inside, "distances": rays}),
        ("cellpose", {"probability": inside, "flows": flows_of(square).astype(np.float32)}),
        ("probability_watershed", {"probability": inside}),
    ):
        method = find_method(name)
        method.segment(Maps.of(**maps), method.parameters(), "canonical")


def volumes() -> None:
    """Deconvolve, segment and measure spheres."""
    light, truth = spheres(VOLUME, (1, 1, 1), count=2, radius_um=(5, 6), gap_um=1, seed=0)
    psf = np.ones((3, 3, 3), np.float32) / 27
    seen = light.astype(np.float32)
    deconvolve(seen, psf, iterations=3, total_variation=1e-3)
    deconvolve(seen, psf, iterations=3, accelerate=True)
    stack = (light * 4000).astype(np.uint16)
    measured(cellmill.segment(stack, z="all", model="voronoi_otsu").label_image, stack)
    measured(truth, stack)


def measured(labels: np.ndarray, image: np.ndarray) -> None:
    """Measure objects, score them, and write them down."""
    cellmill.measure_labels(labels, image)
    cellmill.evaluate(labels, labels)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
