"""Measure how long probabilities take to follow a stroke, in a real window.

`xvfb-run -s "-screen 0 1600x1300x24" python -m napari_cellmill.stroke_speed`
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence

import napari
import numpy as np

from cellmill.terminal import say
from napari_cellmill.picture import opened, register, rest
from napari_cellmill.samples import sample_layers


def main(arguments: Sequence[str] | None = None) -> int:
    """Paint strokes on the sample image, laid side by side, and print the seconds; return 0."""
    parser = argparse.ArgumentParser(prog="python -m napari_cellmill.stroke_speed")
    parser.add_argument("--side", type=int, default=1024, help="pixels of the visible field")
    parser.add_argument("--strokes", type=int, default=20, help="how many")
    given = parser.parse_args(arguments)
    (image, *_), (truth, *_) = sample_layers()
    times = -(-given.side // image.shape[0])
    wide = np.tile(image, (times, times))[: given.side, : given.side]
    marks = np.tile(truth, (times, times))[: given.side, : given.side] > 0
    register()
    viewer = napari.Viewer(title="cellmill")
    viewer.window.resize(1560, 1260)
    viewer.add_image(wide, name="nuclei")
    panel = opened(viewer, "Pixel classification")
    panel.paint.click()
    viewer.reset_view()
    # Wider than the canvas between the panels would show.
    viewer.camera.zoom *= 0.75
    rest(1.0)
    rng = np.random.default_rng(0)
    seconds = []
    for number in range(given.strokes + 3):
        value = number % 2 + 1
        places = np.argwhere(marks == (value == 2))
        start = places[rng.integers(len(places))]
        before = panel.seconds
        with panel.scribbles.block_history():
            for step in range(10):
                panel.scribbles.paint(tuple(start + step), value)
        while panel.busy:
            rest(0.005)
        if number > 2 and panel.seconds != before:
            seconds.append(panel.seconds)
    say(
        f"{len(seconds)} strokes, field {panel.line.text().split(' in ')[0]}: "
        f"median {statistics.median(seconds):.3f} s, longest {max(seconds):.3f} s"
    )
    viewer.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
