"""Networks of Cellpose 3, taught by Cellpose's own training (`cellpose.train.train_seg`).

Each image is brought to the scale at which its median object has the network's diameter; crops of
it are turned, mirrored and zoomed by a quarter, and the network is taught flows and a probability
(Stringer et al., 2021). What is drawn of images follows from their order and from seeds that
Cellpose fixes.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cellmill.errors import BadInput, check_least
from cellmill.inference.tiled import PredictBatch
from cellmill.labels.kinds import Compartment
from cellmill.labels.resizing import resize_labels
from cellmill.models.card import ModelCard
from cellmill.models.importing.cellpose3 import CHANNELS, new_network
from cellmill.models.importing.cellpose_network import OUTPUTS
from cellmill.models.importing.interface import quiet
from cellmill.preprocessing import resize_image, scaling_of
from cellmill.training.accuracy import segment_image
from cellmill.training.fit import diverged
from cellmill.training.images import TrainingImage

#: Side of a crop in pixels: of the tiles that the network is run on.
_CROP = 224
#: Of the optimiser, AdamW.
_WEIGHT_DECAY = 1e-5


@dataclass(frozen=True)
class CellposeParameters:
    """How long and how a network is trained.

    Args:
        steps: batches to train on.
        batch_size: crops in a batch.
        learning_rate: it rises in ten steps; of more than 100 steps the last 50, of more than 300
            the last 100, halve it ten times.
        validate_every: steps between two sets of weights that are kept.
        seed: of the order of images, and of a new network's weights.

    Raises:
        BadInput: a number is out of its range.
    """

    steps: int
    batch_size: int
    learning_rate: float
    validate_every: int
    seed: int

    def __post_init__(self) -> None:
        check_least(self, ("steps", "batch_size", "validate_every"), 1)
        check_least(self, ("seed",), 0)
        if not 0 < self.learning_rate < 1:
            raise BadInput("learning_rate", expected="0 to 1", found=f"{self.learning_rate}")


@dataclass(frozen=True)
class KeptWeights:
    """Weights as they were after some steps.

    Attributes:
        step: steps done.
        path: Cellpose's file of weights.
        loss: mean training loss of the steps since those before.
    """

    step: int
    path: Path
    loss: float


def write_new_weights(path: Path, diameter: float, seed: int) -> None:
    """Write the weights of a network of Cellpose's shape that has learnt nothing.

    Args:
        path: of Cellpose's file of weights.
        diameter: of objects at the network's scale, pixels.
        seed: of the weights.
    """
    importlib.import_module("torch").manual_seed(seed)
    new_network((CHANNELS, 32, 64, 128, 256), diameter).save_model(str(path))


def train_network(
    network: Any,
    images: Sequence[TrainingImage],
    parameters: CellposeParameters,
    folder: Path,
    on_step: Callable[[], object] = lambda: None,
) -> list[KeptWeights]:
    """Train a network in place.

    Args:
        network: Cellpose's module, of two channels.
        images: normalised, of one or two channels, with labels `(Y, X)`; those without an object
            teach nothing and are left out.
        parameters: how long and how.
        folder: an empty one, for weights.
        on_step: called before each step.

    Returns:
        The weights after every `validate_every` steps and after the last.

    Raises:
        BadInput: no image has an object.
        CellmillError: the loss is no longer a number.
    """
    taught = [image for image in images if image.labels.any()]
    if not taught:
        raise BadInput("training images", expected="at least one with objects", found="none")
    order = np.random.default_rng(parameters.seed).permutation(len(taught))
    train = importlib.import_module("cellpose.train")
    steps, every = parameters.steps, parameters.validate_every
    hook = network.register_forward_pre_hook(lambda *_: on_step())
    # An epoch is a batch, so that steps are counted whatever the number of images.
    with quiet():
        try:
            path, losses, _ = train.train_seg(
                network,
                train_data=[_both_channels(taught[i].image) for i in order],
                train_labels=[taught[i].labels.astype(np.int32) for i in order],
                normalize=False,
                batch_size=parameters.batch_size,
                nimg_per_epoch=parameters.batch_size,
                n_epochs=steps,
                learning_rate=parameters.learning_rate,
                weight_decay=_WEIGHT_DECAY,
                bsize=_CROP,
                min_train_masks=1,
                save_path=folder,
                save_every=every,
                save_each=True,
                model_name="weights",
            )
        finally:
            hook.remove()
    if not np.isfinite(losses).all():
        step = int(np.flatnonzero(~np.isfinite(losses))[0]) + 1
        raise diverged(losses[step - 1], step)
    # Cellpose counts from 0 and keeps nothing of the first.
    ends = [*range(every, steps - 1, every), steps - 1]
    found, begin = [], 0
    for end in ends:
        place = Path(path) if end == steps - 1 else Path(f"{path}_epoch_{end:04d}")
        found.append(KeptWeights(end + 1, place, float(np.mean(losses[begin : end + 1]))))
        begin = end + 1
    return found


def segment_at_scale(diameter: float) -> Callable[..., np.ndarray]:
    """How an image is segmented whose objects have a diameter: at the network's scale.

    An image of known pixel size is scaled by that, where the card says how large objects are in
    microns, as `make run` does it; any other as `DIAMETER` does it.

    Args:
        diameter: in pixels of the image.

    Returns:
        A function of an image, network, card and kind as `segment_image` is one.
    """

    def segment(
        image: TrainingImage, network: PredictBatch, card: ModelCard, compartment: Compartment
    ) -> np.ndarray:
        by_size = image.mpp is not None and compartment in card.input.object_diameter_um
        scaling = scaling_of(
            image.image,
            card,
            diameter=None if by_size else min(diameter, *image.labels.shape),
            kind=compartment,
            mpp=(image.mpp[-2], image.mpp[-1]) if by_size and image.mpp else None,
            what=f"image '{image.name}'",
        )
        pixels = resize_image(
            image.image, scaling.shape, image.name, resampling=card.input.resampling
        )
        found = segment_image(pixels, network, card, compartment)
        return resize_labels(found, (image.labels.shape[0], image.labels.shape[1]))

    return segment


def network_shape(network: Any) -> dict[str, Any]:
    """Say for the card how a network is built."""
    count = sum(math.prod(weight.shape) for weight in network.parameters())
    return {"widths": list(network.nbase[1:]), "outputs": OUTPUTS, "weights": count}


def _both_channels(image: np.ndarray) -> np.ndarray:
    """An image `(Y, X, C)` as Cellpose takes it, `(2, Y, X)` float32; a second channel of zeros."""
    planes = np.moveaxis(image, -1, 0).astype(np.float32)
    blank = np.zeros((CHANNELS - len(planes), *planes.shape[1:]), np.float32)
    return np.concatenate([planes, blank])
