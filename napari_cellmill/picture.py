"""Make the picture of docs/napari.md: the sample image, segmented and compared with its truth.

`xvfb-run -s "-screen 0 1600x1000x24" python -m napari_cellmill.picture docs/napari.png`
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import napari
from npe2 import PluginManager
from qtpy.QtWidgets import QApplication

from cellmill.commands.view import PLUGIN
from napari_cellmill.panel import Panel
from napari_cellmill.samples import sample_layers


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the picture; return 0."""
    parser = argparse.ArgumentParser(prog="python -m napari_cellmill.picture")
    parser.add_argument("output", type=Path, help="PNG to write")
    given = parser.parse_args(arguments)
    register()
    viewer = napari.Viewer(title="cellmill")
    viewer.window.resize(1560, 940)
    for data, about, kind in sample_layers():
        getattr(viewer, f"add_{kind}")(data, **about)
    finish(opened(viewer, "Segment"))
    labels = viewer.layers["nuclei: nuclear"]
    compare = opened(viewer, "Compare")
    compare.predicted.choose(labels)
    finish(compare)
    opened(viewer, "Measurements").choice.choose(labels)
    for layer in viewer.layers:
        layer.visible = layer.name in ("nuclei", "nuclei: truth: compared")
    viewer.layers["nuclei: truth: compared"].contour = 2
    labels.selected_label = 40
    viewer.reset_view()
    rest(1.0)
    viewer.screenshot(str(given.output), canvas_only=False, flash=False)
    viewer.close()
    return 0


def register() -> None:
    """Make the plugin known to napari, where it is not installed: in a clone."""
    plugins = PluginManager.instance()
    plugins.discover()
    if PLUGIN not in plugins:
        plugins.register(str(Path(__file__).with_name("napari.yaml")))


def opened(viewer: Any, name: str) -> Any:
    """Open a panel of the plugin, in one place with the others."""
    return viewer.window.add_plugin_dock_widget(PLUGIN, name, tabify=True)[1]


def finish(panel: Panel) -> None:
    """Begin a panel's work and wait for its end."""
    panel.begin()
    while panel.job is not None:
        rest(0.01)


def rest(seconds: float) -> None:
    """Let the window work."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        QApplication.processEvents()
        time.sleep(0.005)


if __name__ == "__main__":
    raise SystemExit(main())
