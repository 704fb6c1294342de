"""What a report shows of a volume: the brightest along Z, cuts in proportion, planes alike."""

import re
from dataclasses import replace

import numpy as np
import pytest

from cellmill.metrics import evaluate_classes
from cellmill.reporting.classes import ClassesSubject, ShownClass, render_classes
from cellmill.reporting.overlay import colour_of
from cellmill.reporting.subject import assess, warnings_of
from cellmill.reporting.volumes import draw_cuts, draw_planes, project, project_labels, view_volume
from tests.measurement.test_volumes import blobs

LABELS, PIXELS = blobs(3, (6, 40, 50))


def test_the_projection_is_the_brightest_voxel():
    assert np.array_equal(project(PIXELS), PIXELS.max(axis=0))


@pytest.mark.parametrize("step", [1, 1000])
def test_a_projected_label_is_that_of_the_brightest_object(step):
    labels = LABELS * step
    seen = project_labels(labels, PIXELS, 1)
    means = {n: PIXELS[labels == n, 1].mean() for n in np.unique(labels) if n}
    for y, x in np.ndindex(seen.shape):
        there = {n for n in labels[:, y, x].tolist() if n}
        assert seen[y, x] == max(there, key=lambda n: (means[n], -n), default=0)


def test_objects_as_bright_as_each_other_are_parted_whole():
    """Noise in single voxels leaves no holes in what lies in front."""
    labels = np.zeros((6, 20, 20), np.int32)
    labels[:3, 2:14, 2:14], labels[3:, 6:18, 6:18] = 1, 2
    noisy = np.random.default_rng(0).poisson(100.0, (*labels.shape, 1)).astype(np.uint16)
    seen = project_labels(labels, noisy, 0)
    areas = {int((seen == n).sum()) for n in (1, 2)}
    assert areas == {144, 144 - 64}


@pytest.mark.parametrize("mpp", [None, (1.0, 0.25, 0.25), (0.5, 0.5, 0.5)])
def test_cuts_are_in_proportion_and_outlined(mpp):
    picture = draw_cuts(PIXELS, {"nuclear": LABELS}, [0, 1], mpp)
    deep = 24 if mpp and mpp[0] == 1 else 6
    height, width = 40 + 6 + deep, 50 + 6 + deep
    times = round(440 / width)
    assert picture.shape == (times * height, times * width, 3)
    assert (picture == colour_of("nuclear")).all(axis=2).any()


def test_planes_share_one_contrast():
    image = np.zeros((3, 20, 20, 1), np.uint16)
    image[0, 5:15, 5:15], image[1, 5:15, 5:15] = 1000, 500
    full, half, none = draw_planes(image, {}, [0], range(3))
    middle = full.shape[0] // 2
    assert full[middle, middle, 0] == 255
    assert half[middle, middle, 0] == pytest.approx(128, abs=2)
    assert not none.any()


def test_a_deep_volume_is_shown_by_few_small_planes():
    image = np.zeros((100, 1200, 30, 1), np.uint8)
    view = view_volume(image, {"nuclear": np.zeros((100, 1200, 30), np.int32)}, [0], None)
    assert len(view.planes) == len(view.places) == 32
    assert (view.places[0], view.places[-1]) == (0, 99)


def test_of_an_unknown_voxel_size_one_thing_is_said(make_subject):
    """What is missing may be the planes' distance alone: MPP is not said to be the remedy."""
    subject = make_subject(mpp=None)
    found = {
        kind: {**table, "volume_px": table["area_px"]}
        for kind, table in subject.measurements.items()
    }
    view = view_volume(PIXELS, {"nuclear": LABELS}, [0], None)
    whole = replace(subject, measurements=found, volume=view)
    (line,) = warnings_of(whole, assess(whole))
    assert "voxel size is not known along every axis" in line
    assert "MPP (within planes) and Z_STEP (between them)" in line
    assert "median diameter found" in line


def test_a_page_of_classes_counts_what_there_is():
    classes = np.ones((3, 20, 24), np.int32)
    classes[1:, 5:15, 5:15] = 2
    for found, image, one, other in (
        (classes, np.zeros((*classes.shape, 1), np.uint8), "voxel", "pixel"),
        (classes[1], np.zeros((20, 24, 1), np.uint8), "pixel", "voxel"),
    ):
        subject = ClassesSubject(
            name="a",
            image=image,
            channels=[0],
            found=found,
            classes=[ShownClass(1, "background", "#000000", False), ShownClass(2, "in", "#ff0000")],
            counts=[int((found == value).sum()) for value in (1, 2)],
            model="m",
            truth=found,
            scores=evaluate_classes(found, found, {"background": 1, "in": 2}),
        )
        page, _ = render_classes(subject)
        text = re.sub(r'"data:[^"]*"', "", page[page.index("<body") :]).lower()
        assert f"truth for every {one}" in text
        assert f"{one}s right" in text
        assert other not in text
