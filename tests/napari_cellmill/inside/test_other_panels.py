"""*Pixel classification*, *Deconvolve* and *Compare*, clicked."""

import threading

import numpy as np
import pytest

import cellmill
from cellmill.metrics.evaluation import evaluate
from napari_cellmill.compare import COLOURS
from napari_cellmill.jobs import Job
from napari_cellmill.layers import pixel_size
from napari_cellmill.live import LiveClassifier
from tests.napari_cellmill.inside.window import settle


def stroke(panel, value, start, stop):
    """Paint as the brush does: from a press to a release."""
    layer = panel.scribbles
    layer.selected_label = value
    with layer.block_history():
        for at in np.linspace(start, stop, 20):
            layer.paint(tuple(at), value)
    settle(lambda: not panel.busy)


@pytest.fixture
def painted(viewer, sample, open_panel):
    """A panel of pixel classification, after a stroke of each class."""
    image, truth = sample
    viewer.add_image(image, name="nuclei", scale=(0.5, 0.5), units="um")
    viewer.reset_view()
    panel = open_panel("Pixel classification")
    panel.paint.click()
    background = np.argwhere(truth[256] == 0)[:, 0]
    y, x = (int(each.mean()) for each in np.nonzero(truth == truth[truth > 0][4000]))
    stroke(panel, 1, (256, background[0]), (256, background[0]))
    stroke(panel, 1, (2, 2), (2, 2))
    stroke(panel, 2, (y - 2, x), (y + 2, x))
    return panel


def test_probabilities_follow_strokes(viewer, painted, sample):
    layer = viewer.layers["nuclei: probabilities"]
    field = layer.metadata["cellmill_field"]
    height, width = field.probabilities.shape[:2]
    y, x = field.corner
    whole = field.classifier.probabilities(sample[0])
    assert np.array_equal(field.probabilities, whole[y : y + height, x : x + width])
    assert pixel_size(layer) == (0.5, 0.5)
    assert layer.translate == pytest.approx(np.multiply(field.corner, 0.5))
    assert viewer.layers.selection.active == painted.scribbles
    before = field.probabilities.copy()
    stroke(painted, 1, (500, 10), (500, 30))
    assert not np.array_equal(layer.metadata["cellmill_field"].probabilities, before)
    assert painted.seconds > 0


def test_they_follow_the_view(viewer, painted):
    viewer.camera.center = (100, 100)
    viewer.camera.zoom *= 4
    settle()
    layer = viewer.layers["nuclei: probabilities"]
    (y0, x0), (y1, x1) = painted.scribbles.corner_pixels
    settle(lambda: layer.metadata["cellmill_field"].corner == (y0, x0))
    assert layer.data.shape[:2] == (y1 - y0 + 1, x1 - x0 + 1)


def test_features_are_looked_up_once_and_are_those_of_the_image(sample):
    image, truth = sample
    learner = LiveClassifier(image[..., np.newaxis])
    marks = np.zeros(image.shape, np.uint8)
    marks[5:9, 0:300], marks[truth == 30] = 1, 2
    learner.learn(marks)
    known = learner._places.copy()
    marks[400:404, 500:] = 1
    once = learner.learn(marks)
    at_once = LiveClassifier(image[..., np.newaxis])
    again = at_once.learn(marks)
    assert np.isin(known, learner._places).all()
    assert np.array_equal(once.probabilities(image), again.probabilities(image))


def test_the_classifier_is_saved_as_a_model(
    viewer, painted, sample, open_panel, run_panel, tmp_path
):
    folder = tmp_path / "my nuclei"
    painted.save_to(folder)
    settle(lambda: painted.job is None)
    assert f"MODEL='{folder}' IMAGE=FOLDER" in painted.how.text()
    found = cellmill.segment(sample[0], model=str(folder))
    assert found.counts["nuclear"] > 0
    painted.save_to(folder)
    assert "expected nothing there yet" in painted.line.text()


def test_what_was_blurred_is_sharpened(viewer, open_panel, run_panel):
    microscope = cellmill.Microscope(numerical_aperture=1.0, emission_nm=520, immersion_index=1.33)
    psf = cellmill.make_psf(microscope, (0.2, 0.1, 0.1), (9, 17, 17))
    volume = np.zeros((16, 48, 48), np.float32)
    volume[4:13, 16:33, 16:33] = 1000 * psf / psf.max()
    viewer.add_image(volume, name="point", scale=(0.2, 0.1, 0.1), units="um")
    viewer.add_image(psf, name="psf")
    panel = open_panel("Deconvolve")
    panel.image.choose(viewer.layers["point"])
    panel.psf.choose(viewer.layers["psf"])
    panel.iterations.setText("5")
    run_panel(panel)
    layer = viewer.layers["point: deconvolved"]
    expected = cellmill.deconvolve(
        volume, psf, iterations=5, total_variation=0.002, spacing=(0.2, 0.1, 0.1)
    )
    assert np.allclose(layer.data, expected.image, rtol=1e-5, atol=1e-3)
    assert layer.data.max() > volume.max()
    assert pixel_size(layer) == (0.2, 0.1, 0.1)


def test_deconvolving_needs_the_size_of_a_voxel(viewer, sample, open_panel, run_panel):
    viewer.add_image(sample[0], name="nuclei")
    panel = open_panel("Deconvolve")
    assert run_panel(panel) == "voxel, µm: expected its size in µm, as 0.3,0.1,0.1, found none"
    panel.voxel.setText("0.1,0.1")
    panel.iterations.setText("2")
    assert run_panel(panel).startswith("I-divergence")


def test_deconvolving_ends_by_itself_in_consensus(viewer, open_panel, run_panel):
    random = np.random.default_rng(0)
    light = np.full((48, 48), 20.0)
    light[20:28, 20:28] = 400
    viewer.add_image(random.poisson(light).astype(np.float32), name="square")
    panel = open_panel("Deconvolve")
    panel.image.choose(viewer.layers["square"])
    panel.voxel.setText("0.1,0.1")
    panel.model.setCurrentText("vectorial")
    panel.iterations.setText("200")
    panel.consensus.setChecked(True)
    panel.gain.setText("1")
    said = run_panel(panel)
    (count,) = [part for part in said.splitlines()[0].split(", ") if "iterations" in part]
    assert 0 < int(count.split()[0]) < 200


def test_objects_have_the_colours_of_what_became_of_them(viewer, open_panel, run_panel):
    truth, found = np.zeros((2, 40, 80), np.int32)
    for number, x in enumerate(range(0, 80, 16), 1):
        truth[4:16, x + 2 : x + 12] = number
    found[truth == 1] = 9  # matched
    found[(truth == 2) | (truth == 3)] = 4  # merged
    found[4:10, 50:60], found[10:16, 50:60] = 5, 6  # split
    found[30:36, 5:15] = 7  # gained; the fifth is missed
    viewer.add_labels(truth, name="truth")
    viewer.add_labels(found, name="found")
    panel = open_panel("Compare")
    said = run_panel(panel)
    layer = viewer.layers["truth: compared"]
    names = dict(zip(layer.features["index"], layer.features["outcome"], strict=True))
    at = [(5, 5), (5, 20), (5, 40), (5, 55), (5, 70), (32, 8)]
    assert [names[int(layer.data[place])] for place in at] == [
        *("matched", "merged", "merged", "split", "missed", "gained"),
    ]
    for place in at:
        colour = layer.colormap.map(int(layer.data[place]))
        assert colour[:3] == pytest.approx(_rgb(COLOURS[names[int(layer.data[place])]]), abs=0.01)
    assert layer.data[20, 20] == 0
    f1 = evaluate(truth, found)["matching"][0]["f1"]
    assert f"F1 {f1:.3f}" in said


def _rgb(colour):
    return [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]


def test_a_thread_ends_with_its_work(viewer):
    """What C libraries keep of a thread is not met again by the next piece of work."""
    threads = []
    for _ in range(2):
        job = Job(lambda report: threading.current_thread())
        job.done.connect(threads.append)
        ended = []
        job.ended.connect(lambda ended=ended: ended.append(True))
        job.start()
        settle(lambda ended=ended: ended)
    assert len(threads) == 2
    assert not any(thread.is_alive() for thread in threads)
