"""One viewer with a window for all tests, emptied after each; the plugin as its manifest has it."""

import json

import napari
import numpy as np
import pyarrow.parquet as pq
import pytest
from napari.utils.notifications import notification_manager

import cellmill
from cellmill.datasets import samples
from napari_cellmill.picture import register
from tests.napari_cellmill.inside.window import settle


@pytest.fixture(scope="session")
def one_viewer():
    register()
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1500, 950)
    yield viewer
    viewer.close()


@pytest.fixture
def viewer(one_viewer):
    """The viewer, with no layers and no panels."""
    yield one_viewer
    one_viewer.window.remove_dock_widget("all")
    one_viewer.layers.clear()
    notification_manager.records.clear()


@pytest.fixture
def open_panel(viewer):
    def made(name):
        _, panel = viewer.window.add_plugin_dock_widget("cellmill", name)
        return panel

    return made


@pytest.fixture
def run_panel():
    """Click a panel's button and wait for what comes of it; give the line that it shows."""

    def run(panel):
        panel.begin_button.click()
        settle(lambda: panel.job is None)
        return panel.line.text()

    return run


@pytest.fixture(scope="session")
def sample():
    """The sample image and its truth, `(512, 512)`."""
    import tifffile

    image, truth = samples.sample_image()
    return tifffile.imread(image), tifffile.imread(truth).astype(np.int32)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """A run's folder: labels and measurements of the sample as the stages write them."""
    image, truth = samples.sample_image()
    run = tmp_path_factory.mktemp("run")
    folder = run / "img2d"
    folder.mkdir()
    read = cellmill.read_image(image)
    found = cellmill.segment(read, mpp=0.5)
    found.write(folder / "labels.tif")
    table = cellmill.measure_labels(
        found.label_image, read.pixels, mpp=(0.5, 0.5), compartment="nuclear"
    )
    pq.write_table(table, folder / "measurements.parquet")
    about = {
        "format": "cellmill-run/1",
        "images": [{"name": "img2d", "image": str(image), "truth": str(truth)}],
        "arguments": {"model_digest": ""},
    }
    (run / "run.json").write_text(json.dumps(about))
    return run, found, table
