"""Time DeepCell's application up to its heads; deepcell's interpreter runs this file, not ours.

`python deepcell_predict.py MODEL OUT IMAGE …`: each TIFF (Y, X, 2 or 2, Y, X; 0.5 µm pixels) is
read, preprocessed, tiled, predicted and untiled by `Mesmer(model).predict`, whose post-processing
is replaced by one that gives an empty label image at once. `OUT` gets `<name>.npz` (the heads) and
`seconds.json`. The model is loaded, and a first tile predicted, before any clock starts.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
import tifffile
from deepcell.applications import Mesmer

model, out, *images = sys.argv[1:]
application = Mesmer(tf.keras.models.load_model(model, compile=False))
heads: list = []
keep = application.format_model_output_fn


def format_heads(outputs: list) -> Any:
    """Keep the heads, and go on as the application does."""
    heads[:] = outputs
    return keep(outputs)


def nothing(outputs: dict, **_: Any) -> np.ndarray:
    """Segment nothing."""
    return np.zeros((*next(iter(outputs.values()))[0].shape[:-1], 1), np.int32)


application.format_model_output_fn = format_heads
application.postprocessing_fn = nothing
application.predict(np.random.default_rng(0).random((1, 256, 256, 2)), image_mpp=0.5)
seconds = {}
for path in map(Path, images):
    start = time.perf_counter()
    image = tifffile.imread(path, series=0, level=0)
    image = np.moveaxis(image, 0, -1) if len(image) == 2 else image
    application.predict(image[np.newaxis], image_mpp=0.5)
    seconds[path.stem] = time.perf_counter() - start
    np.savez(Path(out) / f"{path.stem}.npz", *(head[0] for head in heads))
(Path(out) / "seconds.json").write_text(json.dumps(seconds))
