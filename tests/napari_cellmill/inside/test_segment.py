"""*Segment* and *Measurements*, clicked."""

import numpy as np
import pytest
from qtpy.QtCore import Qt

import cellmill
from cellmill.arrays.groups import write_group
from cellmill.arrays.ome import image_attributes
from cellmill.arrays.zarr import create_array
from napari_cellmill.layers import pixel_size
from tests.napari_cellmill.inside.window import settle


def test_labels_are_those_of_the_library_and_lie_over_the_image(
    viewer, sample, open_panel, run_panel
):
    image, _ = sample
    viewer.add_image(image, name="nuclei", scale=(0.5, 0.5), units="um", translate=(10, 20))
    panel = open_panel("Segment")
    said = run_panel(panel)
    expected = cellmill.segment(image, mpp=0.5)
    layer = viewer.layers["nuclei: nuclear"]
    assert np.array_equal(layer.data, expected.label_image)
    assert pixel_size(layer) == (0.5, 0.5)
    assert layer.translate.tolist() == [10, 20]
    assert said.startswith(f"{expected.counts['nuclear']} nuclear objects")
    table = cellmill.measure_labels(
        expected.label_image, image, mpp=(0.5, 0.5), compartment="nuclear"
    )
    assert layer.features["index"].tolist() == table["label"].to_pylist()
    assert layer.features["area_um2"].tolist() == table["area_um2"].to_pylist()
    assert list(layer.features["mean_nuclei"]) == table["mean_channel_0"].to_pylist()


def test_a_row_and_its_label_are_chosen_together(viewer, sample, open_panel, run_panel):
    viewer.add_image(sample[0], name="nuclei")
    viewer.add_labels(sample[1], name="truth")
    table = open_panel("Measurements")
    assert table.line.text() == "not measured"
    run_panel(open_panel("Segment"))
    layer = viewer.layers["nuclei: nuclear"]
    assert table.choice.layer == layer
    assert table.line.text() == f"{len(layer.features)} objects"
    layer.selected_label = 7
    (row,) = table.table.selectionModel().selectedRows()
    assert int(table.sorted.data(row)) == 7
    table.table.sortByColumn(list(layer.features).index("area_px"), table.sorted.sortOrder())
    table.table.clicked.emit(table.sorted.index(3, 0))
    chosen = int(table.sorted.data(table.sorted.index(3, 0)))
    assert layer.selected_label == chosen
    y, x = layer.features.set_index("index").loc[chosen, ["centroid_y_px", "centroid_x_px"]]
    assert viewer.camera.center[-2:] == pytest.approx((y, x))
    assert table.row_of(chosen) == 3


def test_a_volume_is_segmented_as_one(viewer, open_panel, run_panel):
    _, y, x = np.indices((6, 64, 64))
    volume = (200 * (np.hypot(y - 30, x - 30) < 9)).astype(np.uint8)
    viewer.add_image(volume, name="ball", scale=(1, 0.5, 0.5), units="um")
    panel = open_panel("Segment")
    panel.model.setCurrentText("voronoi_otsu")
    panel.volume.setChecked(True)
    run_panel(panel)
    (layer,) = [each for each in viewer.layers if each.name.startswith("ball: ")]
    assert layer.data.shape == volume.shape
    assert layer.data.max() == 1
    assert pixel_size(layer) == (1, 0.5, 0.5)


def test_what_cannot_be_done_is_said_in_one_line(viewer, sample, open_panel, run_panel):
    panel = open_panel("Segment")
    assert run_panel(panel) == "channel 1: expected an image layer, found none"
    viewer.add_image(sample[0], name="nuclei")
    panel.model.setCurrentText("no-such-model")
    assert "no-such-model" in run_panel(panel)
    panel.model.setCurrentIndex(0)
    panel.mpp.setText("-1")
    assert run_panel(panel).startswith("pixel size, µm: expected a number from 0")
    assert [each.name for each in viewer.layers] == ["nuclei"]


def test_work_is_cancelled_and_can_be_begun_again(viewer, sample, open_panel, run_panel):
    viewer.add_image(np.tile(sample[0], (3, 3)), name="nuclei")
    panel = open_panel("Segment")
    steps = []
    panel.begin_button.click()
    assert panel.cancel_button.isEnabled()
    job = panel.job

    def cancel(step, part):
        steps.append(step)
        if step == "predict":
            job.cancel()

    # In the thread that works, so that it can get no farther meanwhile.
    job.progressed.connect(cancel, Qt.ConnectionType.DirectConnection)
    settle(lambda: panel.job is None)
    assert not panel.cancel_button.isEnabled()
    assert panel.line.text() == "cancelled"
    assert "predict" in steps
    assert "label" not in steps
    assert len(viewer.layers) == 1
    viewer.layers["nuclei"].data = sample[0]
    assert "nuclear objects" in run_panel(panel)


def test_what_lies_on_disk_is_worked_on_tile_by_tile(
    viewer, sample, open_panel, run_panel, tmp_path
):
    """Neither the image nor its labels are read whole; labels are those in memory."""
    image = np.zeros((2080, 2112), np.uint8)
    image[900:1412, 770:1282] = sample[0]
    place = tmp_path / "wide.zarr"
    store = create_array(f"{place}/0", (image.shape, image.dtype, "YX"))
    store[...] = image
    write_group(str(place), image_attributes("wide", "YX", [1], mpp=(0.5, 0.5)))
    viewer.open(str(place), plugin="cellmill")
    (shown,) = viewer.layers
    assert not isinstance(shown.data, np.ndarray)
    panel = open_panel("Segment")
    panel.memory.setText("64")
    run_panel(panel)
    layer = viewer.layers[-1]
    assert layer.metadata["cellmill_facts"]["tiled"]
    assert layer.multiscale
    finest = layer.data[0]
    assert not isinstance(finest, np.ndarray)
    assert np.array_equal(finest[...], cellmill.segment(image, mpp=0.5).label_image)
    assert len(layer.features) == finest[...].max()
