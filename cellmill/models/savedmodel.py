"""Writing TensorFlow's SavedModel."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cellmill import extras


def write_savedmodel(folder: Path, serve: Any, weights: Iterable[Any] = ()) -> None:
    """Write a SavedModel with one signature, `serving_default`.

    Args:
        folder: the model's folder.
        serve: a `tf.function` with an input signature.
        weights: Keras's variables that it uses.
    """
    tf = extras.load("tensorflow", "writing a network")
    # A bare module keeps the weights once, in the network's order, and nothing of the training.
    module = tf.Module()
    module.weights = [weight.value for weight in weights]
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})
    with contextlib.suppress(OSError):  # an empty folder, which git and object stores cannot keep
        (folder / "assets").rmdir()
