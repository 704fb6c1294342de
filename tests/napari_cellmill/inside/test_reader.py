"""*Open a run*, the sample data, and `cellmill view`."""

import json

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QApplication

from napari_cellmill.layers import pixel_size
from napari_cellmill.reader import get_reader


def test_a_run_is_opened_whole(viewer, run_folder, sample):
    run, found, table = run_folder
    viewer.open(str(run), plugin="cellmill")
    names = [each.name for each in viewer.layers]
    assert names == ["img2d", "img2d: truth", "img2d: nuclear", "img2d: measured nuclei"]
    image, truth, labels, points = viewer.layers
    assert np.array_equal(image.data, sample[0])
    assert np.array_equal(truth.data, sample[1])
    assert np.array_equal(labels.data, found.label_image)
    assert {pixel_size(each) for each in viewer.layers} == {(0.5, 0.5)}
    assert labels.features["index"].tolist() == table["label"].to_pylist()
    assert points.data[:, 0].tolist() == table["centroid_y_px"].to_pylist()
    assert image.visible
    assert labels.visible


@pytest.mark.parametrize("part", ["run.json", "img2d"])
def test_its_parts_are_opened_too(viewer, run_folder, part):
    viewer.open(str(run_folder[0] / part), plugin="cellmill")
    assert len(viewer.layers) == 4


def test_labels_in_a_store_are_read_as_they_are_looked_at(viewer, run_folder, tmp_path):
    run, found, _ = run_folder
    folder = tmp_path / "slide" / "img2d"
    folder.mkdir(parents=True)
    (tmp_path / "slide" / "run.json").write_text((run / "run.json").read_text())
    found.write(folder / "labels.ome.zarr")
    viewer.open(str(folder), plugin="cellmill")
    layer = viewer.layers["img2d: nuclear"]
    assert not isinstance(layer.data, np.ndarray)
    assert np.array_equal(layer.data[...], found.label_image)
    assert pixel_size(layer) == (0.5, 0.5)


def test_an_image_that_was_moved_is_said_and_left_out(viewer, run_folder, tmp_path):
    run, found, _ = run_folder
    (tmp_path / "img2d").mkdir()
    found.write(tmp_path / "img2d" / "labels.tif")
    about = json.loads((run / "run.json").read_text())
    about["images"][0]["image"] = str(tmp_path / "gone.tif")
    (tmp_path / "run.json").write_text(json.dumps(about))
    viewer.open(str(tmp_path), plugin="cellmill")
    assert [each.name for each in viewer.layers] == ["img2d: truth", "img2d: nuclear"]
    said = [str(each.message) for each in notification_manager.records]
    assert any(line.startswith(f"left out: {tmp_path / 'gone.tif'}") for line in said)


def test_other_folders_are_left_to_other_readers(tmp_path):
    assert get_reader(str(tmp_path)) is None
    assert get_reader([str(tmp_path)]) is None


def test_the_sample_is_offered(viewer, sample):
    viewer.open_sample("cellmill", "nuclei")
    assert [each.name for each in viewer.layers] == ["nuclei", "nuclei: truth"]
    assert np.array_equal(viewer.layers[1].data, sample[1])


def test_view_opens_a_run(viewer, run_folder, monkeypatch):
    """The command in this process: its window opens, and is closed as a person would."""
    import napari

    from cellmill.commands.view import main

    seen = []

    def run():
        shown = napari.current_viewer()
        seen.extend(each.name for each in shown.layers)
        shown.close()

    monkeypatch.setattr(napari, "run", run)
    assert main([str(run_folder[0])]) == 0
    assert seen[0] == "img2d"
    assert len(seen) == 4
    QApplication.processEvents()
