"""Letting napari's window work."""

import time

from qtpy.QtWidgets import QApplication

SECONDS = 300


def settle(until=lambda: True):
    """Let the window work until something holds."""
    ends = time.monotonic() + SECONDS
    QApplication.processEvents()
    while not until():
        assert time.monotonic() < ends, "nothing came of it"
        QApplication.processEvents()
        time.sleep(0.005)
    QApplication.processEvents()
