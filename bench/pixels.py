"""Pixel classification against scikit-image's features and scikit-learn's forest, in one run.

`python -m bench.pixels [--side 2048] [--repeats 3] [--output …]`

On a mosaic of the sample image: the features of `multiscale_basic_features` (24 of them, σ 0.5 to
16), and probabilities by one forest that scikit-learn fitted on its features at 2 % of the truth's
pixels. Both sides use all threads. Classes are compared pixel by pixel: beyond the image's border
cellmill mirrors and scikit-image repeats, so those within reach of the border are counted apart.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from cellmill.arrays.files import write_text
from cellmill.compute.threads import thread_count
from cellmill.datasets.samples import sample_image
from cellmill.datasets.scribbles import scribbles_of
from cellmill.pixel_classification.classifier import PixelClassifier, named_classes
from cellmill.pixel_classification.feature_set import FeatureSet
from cellmill.pixel_classification.features import image_features
from cellmill.pixel_classification.forest import Forest
from launch import ROOT

SIGMAS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
FORESTS = ((20, 6), (50, 10))


def main(argv: Sequence[str] | None = None) -> int:
    """Time both sides and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.pixels", description=main.__doc__)
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "bench" / "pixels.json")
    given = parser.parse_args(argv)
    rows = measure(given.side, given.repeats)
    print(f"{thread_count()} threads, load {os.getloadavg()[0]:.1f} at the end")
    print(f"{'':34}{'peers, s':>10}{'ours, s':>10}{'ratio':>7}  classes that differ")
    for row in rows:
        shown = f"{row['differ_inside']} inside, {row['differ']} in all" if "differ" in row else ""
        print(
            f"{row['what']:34}{row['peer_seconds']:10.2f}{row['seconds']:10.2f}"
            f"{row['peer_seconds'] / row['seconds']:7.1f}  {shown}"
        )
    write_text(given.output, json.dumps(rows, indent=1) + "\n")
    return 0


def measure(side: int, repeats: int) -> list[dict[str, Any]]:
    """Time features and whole classifications, both sides in turn; medians of the repeats."""
    from skimage.feature import multiscale_basic_features
    from sklearn.ensemble import RandomForestClassifier

    sample, truth = (tifffile.imread(path) for path in sample_image())
    times = -(-side // min(sample.shape))
    image = np.tile(sample, (times, times))[:side, :side].astype(np.float32)
    marks = scribbles_of(np.tile(truth, (times, times))[:side, :side], 0.02 / times**2)
    wanted = FeatureSet.of(("gaussian", "gradient", "hessian"), SIGMAS)

    def peer_features() -> np.ndarray:
        found: np.ndarray = multiscale_basic_features(
            image, sigma_min=SIGMAS[0], sigma_max=SIGMAS[-1], num_workers=thread_count()
        )
        return found

    image_features(image[:64, :64], wanted)
    peer, seconds, peers = _timed(peer_features, lambda: image_features(image, wanted), repeats)
    rows: list[dict[str, Any]] = [
        {"what": f"{wanted.count} features", "seconds": seconds, "peer_seconds": peers}
    ]
    for trees, depth in FORESTS:
        fitted = RandomForestClassifier(
            trees, max_depth=depth, random_state=0, n_jobs=thread_count()
        )
        fitted.fit(peer[marks > 0], marks[marks > 0])
        classifier = PixelClassifier(
            wanted, Forest.of_trees(fitted.estimators_), named_classes([1, 2])
        )
        classifier.probabilities(image[:64, :64])

        def by_peers(fitted: Any = fitted) -> np.ndarray:
            values = peer_features().reshape(-1, wanted.count)
            found: np.ndarray = fitted.predict_proba(values)
            return found.reshape(*image.shape, 2)

        def by_us(classifier: PixelClassifier = classifier) -> np.ndarray:
            return classifier.probabilities(image)

        expected, seconds, peers = _timed(by_peers, by_us, repeats)
        differ = classifier.probabilities(image).argmax(-1) != expected.argmax(-1)
        far = wanted.halo[0]
        rows.append(
            {
                "what": f"whole, {trees} trees of depth {depth}",
                "seconds": seconds,
                "peer_seconds": peers,
                "differ": int(differ.sum()),
                "differ_inside": int(differ[far:-far, far:-far].sum()),
                "pixels": differ.size,
            }
        )
    return rows


def _timed(
    peer: Callable[[], np.ndarray], ours: Callable[[], np.ndarray], repeats: int
) -> tuple[np.ndarray, float, float]:
    """What the peer gives, and the median seconds of ours and of the peer's, taken in turn."""
    found = np.empty(0)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for run, spent in zip((ours, peer), times, strict=True):
            begun = time.perf_counter()
            found = run()
            spent.append(time.perf_counter() - begun)
    return found, statistics.median(times[0]), statistics.median(times[1])


if __name__ == "__main__":
    sys.exit(main())
