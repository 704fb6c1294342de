"""Compiles cellmill's numba kernels at an image's build, by running what a stage runs, in small.

The cache is for any x86-64-v2 processor, whichever machine the image was built on.
"""

import numpy as np

from cellmill.models.card import ModelCard, known_cards
from cellmill.models.shipped import shipped_models
from cellmill.preprocessing import preprocess
from cellmill.segmentation.interface import IMAGE
from cellmill.segmentation.methods import segment

SHAPE = (96, 96)


def main() -> None:
    """Preprocess and segment a disc as each card asks for."""
    y, x = np.indices(SHAPE)
    disc = np.clip(1 - np.hypot(y - 48, x - 48) / 30, 0, 1).astype(np.float32)
    shipped = [ModelCard.load(folder) for folder in shipped_models().values()]
    for card in (*known_cards().values(), *shipped):
        channels = np.repeat(disc[..., None], len(card.input.channels), axis=2)
        heads = {h.name: np.repeat(disc[..., None], h.channels, axis=2) for h in card.heads}
        # A method may read the image itself, as a network would be shown it.
        heads[IMAGE] = preprocess(channels, card.preprocessing)
        for name in card.compartments:
            segment(card, heads, name)


if __name__ == "__main__":
    main()
