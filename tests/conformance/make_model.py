"""Make the conformance model with deepcell itself: a PanopticNet like Mesmer's.

Runs by path in deepcell's environment (`python tests/conformance/make_model.py FOLDER`; there,
another package called `tests` is installed), in a few CPU minutes, from a seed and made tissue
alone. The network has Mesmer's architecture (ResNet-50, two channels, four heads, 256 × 256 tiles)
and is trained on 128 × 128 crops, which cost a quarter; the weights do not depend on the size.
What it finds is checked before it is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from agreement import object_f1
from deepcell.applications import Mesmer
from deepcell.applications.mesmer import mesmer_preprocess
from deepcell.losses import weighted_categorical_crossentropy
from deepcell.model_zoo.panopticnet import PanopticNet
from deepcell.utils.transform_utils import inner_distance_transform_2d, pixelwise_transform
from tissue import MPP, as_integers, draw_tissue

SEED = 7
TILE = 256
CROP = 128
FIELDS = 24
BATCH = 4
STEPS = 80
LEAST_F1 = 0.8
DISTANCE_HEADS = (0, 2)


def build(size: int) -> tf.keras.Model:
    """Give an untrained network for tiles of that size."""
    return PanopticNet(
        backbone="resnet50",
        input_shape=(size, size, 2),
        norm_method=None,
        num_semantic_classes=[1, 3, 1, 3],
        location=True,
        use_imagenet=False,
    )


def targets(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give what the two heads of one compartment should say of `(Y, X)` labels."""
    distance = inner_distance_transform_2d(labels, erosion_width=1, alpha="auto")
    classes = pixelwise_transform(labels, dilation_radius=1, data_format="channels_last")
    return distance[..., np.newaxis].astype(np.float32), classes.astype(np.float32)


def fields() -> list[np.ndarray]:
    """Give the training fields: `(Y, X, 10)`, the preprocessed image and all heads' targets."""
    made = []
    for index in range(FIELDS):
        tissue = draw_tissue(
            SEED + index,
            (TILE, TILE),
            scale=1.0 + 0.1 * (index % 3),
            coverage=0.5 + 0.1 * (index % 4),
        )
        image = as_integers(tissue.image, np.uint16)
        parts = [mesmer_preprocess(image[np.newaxis])[0]]
        for labels in (tissue.whole_cell, tissue.nuclear):
            parts.extend(targets(labels))
        made.append(np.concatenate(parts, axis=-1).astype(np.float32))
    return made


def batches(rng: np.random.Generator) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Give batches of random crops, turned and flipped, for ever."""
    made = fields()
    while True:
        crops = []
        for _ in range(BATCH):
            field = made[rng.integers(len(made))]
            y, x = rng.integers(0, TILE - CROP + 1, size=2)
            crop = np.rot90(field[y : y + CROP, x : x + CROP], rng.integers(4))
            crops.append(crop if rng.random() < 0.5 else crop[::-1])
        stack = np.stack(crops)
        yield stack[..., :2], np.split(stack[..., 2:], [1, 4, 5], axis=-1)


def train() -> tf.keras.Model:
    """Train on crops and give the network for whole tiles, with the trained weights."""
    network = build(CROP)
    for layer in network._flatten_layers():
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            # The default needs thousands of steps before the statistics used in prediction settle.
            layer.momentum = 0.9
    for head in DISTANCE_HEADS:
        # Their ReLU dies if the first steps push it below zero everywhere: begin small and above.
        last = network.get_layer(f"conv_1_semantic_{head}")
        last.kernel.assign(0.1 * last.kernel)
        last.bias.assign(tf.fill(last.bias.shape, 0.2))

    def classes(true: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
        return weighted_categorical_crossentropy(true, predicted, n_classes=3)

    rate = tf.keras.optimizers.schedules.PolynomialDecay(1e-3, STEPS, 1e-5)
    network.compile(
        optimizer=tf.keras.optimizers.Adam(rate, clipnorm=0.1),
        loss=["mse", classes, "mse", classes],
        loss_weights=[10.0, 1.0, 10.0, 1.0],
    )
    source = batches(np.random.default_rng(SEED))
    began = time.perf_counter()
    for step in range(1, STEPS + 1):
        losses = network.train_on_batch(*next(source))
        if step % 10 == 0 or step == 1:
            heads = " ".join(f"{value:.3f}" for value in losses[1:])
            seconds = time.perf_counter() - began
            print(f"step {step}/{STEPS}  losses {heads}  {seconds:.0f} s", flush=True)
    whole = build(TILE)
    whole.set_weights(network.get_weights())
    return whole


def check(network: tf.keras.Model) -> dict[str, float]:
    """Give object F1@0.5 per compartment on tissue that the network has not seen."""
    scores: dict[str, list[float]] = {"whole_cell": [], "nuclear": []}
    for index in range(2):
        tissue = draw_tissue(SEED + 1000 + index, (300, 340))
        found = Mesmer(network).predict(
            as_integers(tissue.image, np.uint16)[np.newaxis], image_mpp=MPP, compartment="both"
        )[0]
        scores["whole_cell"].append(object_f1(tissue.whole_cell, found[..., 0].astype(int)))
        scores["nuclear"].append(object_f1(tissue.nuclear, found[..., 1].astype(int)))
    return {f"{name}_f1_0.5": round(float(np.mean(f1)), 4) for name, f1 in scores.items()}


def main(arguments: list[str] | None = None) -> int:
    """Make the model in the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the SavedModel goes")
    folder = parser.parse_args(arguments).folder
    tf.keras.utils.set_random_seed(SEED)
    network = train()
    accuracy = check(network)
    print(f"found on unseen tissue: {accuracy}; CPU {time.process_time():.0f} s", flush=True)
    if min(accuracy.values()) < LEAST_F1:
        print(f"the model is of no use: F1 under {LEAST_F1}", file=sys.stderr)
        return 1
    network.save(folder, include_optimizer=False)
    kept = {"seed": SEED, "steps": STEPS, "batch": BATCH, "accuracy": accuracy}
    (folder / "training.json").write_text(json.dumps(kept, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
