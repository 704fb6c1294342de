"""Deep watershed as scikit-image's pieces put together, and what holds for any map."""

import inspect
from dataclasses import replace

import numpy as np
import pytest
import skimage.feature
import skimage.filters
import skimage.measure
import skimage.morphology
import skimage.segmentation
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cellmill.errors import BadInput
from cellmill.labels.numbering import canonical_labels
from cellmill.labels.objects import object_areas, remove_small_objects
from cellmill.segmentation.deep_watershed import WatershedParameters, deep_watershed, segment_maps
from tests.segmentation.maps import balls, like_a_network, made_maps, permutation, quantised

MAPS = list(made_maps())
MESMER = WatershedParameters(
    radius=2,
    maxima_threshold=0.075,
    interior_threshold=0.2,
    interior_smooth=2,
    small_objects_threshold=15,
    fill_holes_threshold=15,
)
STEPPED = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=10),
    elements=st.integers(0, 16).map(lambda n: n / 16),
)
PARAMETERS = st.builds(
    WatershedParameters,
    radius=st.integers(1, 4),
    maxima_threshold=st.integers(1, 8).map(lambda n: n / 16 - 1 / 32),
    interior_threshold=st.integers(0, 12).map(lambda n: n / 16),
    maxima_smooth=st.sampled_from([0, 0.7]),
    interior_smooth=st.sampled_from([0, 1]),
    label_erosion=st.integers(0, 2),
    small_objects_threshold=st.integers(0, 9),
    small_objects_fraction=st.sampled_from([0, 0, 0.4, 1]),
    fill_holes_threshold=st.just(0),
    pixel_expansion=st.integers(0, 2),
    maxima_algorithm=st.sampled_from(["h_maxima", "peak_local_max"]),
)


def batch(*images):
    return [np.asarray(image)[np.newaxis, ..., np.newaxis] for image in images]


def pieced_together(maxima, interior, parameters):
    """The same steps from scikit-image's own functions; no holes filled, nothing expanded."""
    maxima, interior = (
        skimage.filters.gaussian(image, sigma, mode="reflect", preserve_range=True)
        if sigma
        else image
        for image, sigma in (
            (maxima, parameters.maxima_smooth),
            (interior, parameters.interior_smooth),
        )
    )
    if parameters.pixel_expansion:
        box = np.ones((2 * parameters.pixel_expansion + 1,) * maxima.ndim, bool)
        interior = skimage.morphology.dilation(interior, box)
    if parameters.maxima_algorithm == "h_maxima":
        element = skimage.morphology.disk if maxima.ndim == 2 else skimage.morphology.ball
        found = skimage.morphology.h_maxima(
            maxima, parameters.maxima_threshold, element(parameters.radius)
        )
    else:
        found = np.zeros(maxima.shape, bool)
        peaks = skimage.feature.peak_local_max(
            maxima,
            min_distance=parameters.radius,
            threshold_abs=parameters.maxima_threshold,
            exclude_border=parameters.exclude_border,
        )
        found[tuple(peaks.T)] = True
    labels = skimage.segmentation.watershed(
        -interior,
        skimage.measure.label(found, connectivity=maxima.ndim),
        mask=interior > parameters.interior_threshold,
    )
    for _ in range(parameters.label_erosion):
        labels[skimage.segmentation.find_boundaries(labels, mode="inner")] = 0
    if labels.any():
        labels = skimage.morphology.remove_small_objects(labels, parameters.small_objects_threshold)
    return skimage.segmentation.relabel_sequential(labels)[0]


@pytest.mark.filterwarnings("ignore:Only one label was provided")
@pytest.mark.filterwarnings("ignore:Any labeled images will be returned")
@pytest.mark.parametrize("number", range(len(MAPS)), ids=[name for name, *_ in MAPS])
def test_it_is_scikit_image_put_together(number):
    _, maxima, interior = MAPS[number]
    rng = np.random.default_rng(number)
    for algorithm, radius in (("h_maxima", 2), ("peak_local_max", 3)):
        parameters = WatershedParameters(
            radius=radius,
            maxima_threshold=float(rng.choice([0.02, 0.075, 0.3])),
            interior_threshold=float(rng.choice([0.01, 0.2, 0.5])),
            maxima_smooth=rng.choice([0, 1]),
            interior_smooth=rng.choice([0, 2]),
            label_erosion=int(rng.integers(2)),
            small_objects_threshold=int(rng.choice([0, 15])),
            pixel_expansion=int(rng.choice([0, 0, 2])),
            maxima_algorithm=algorithm,
            exclude_border=radius * int(rng.integers(2)),
            tie_rule="reference",
        )
        labels = segment_maps(maxima, interior, parameters, "reference")
        assert np.array_equal(labels, pieced_together(maxima, interior, parameters))


@settings(deadline=None, max_examples=200)
@given(STEPPED, st.integers(0, 99), PARAMETERS)
def test_what_holds_for_every_map_and_parameters(maxima, seed, parameters):
    interior = quantised(permutation(seed, maxima.shape), 17)
    labels = segment_maps(maxima, interior, parameters)
    assert labels.dtype == np.int32
    assert labels.shape == maxima.shape
    assert np.array_equal(canonical_labels(labels), labels)
    assert (object_areas(labels) >= parameters.small_objects_threshold).all()
    every = segment_maps(maxima, interior, replace(parameters, small_objects_fraction=0))
    relative = remove_small_objects(every, 0, parameters.small_objects_fraction)
    assert np.array_equal(labels, canonical_labels(relative))
    reference = segment_maps(maxima, interior, parameters, "reference")
    assert np.array_equal(canonical_labels(reference), labels)
    assert np.array_equal(np.unique(reference), np.unique(labels))
    if not parameters.interior_smooth and not parameters.pixel_expansion:
        assert not labels[interior <= parameters.interior_threshold].any()


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(3, 20), st.integers(3, 20), st.integers(1, 3))
def test_a_map_without_ties_may_be_turned(seed, height, width, radius):
    image = permutation(seed, (height, width))
    parameters = WatershedParameters(
        radius=radius, maxima_threshold=0.2, interior_threshold=0.3, interior_smooth=0
    )
    labels = segment_maps(image, image, parameters)
    for turned in (np.transpose, np.flipud, np.rot90):
        expected = canonical_labels(turned(labels))
        image_turned = np.ascontiguousarray(turned(image))
        assert np.array_equal(segment_maps(image_turned, image_turned, parameters), expected)


@pytest.mark.parametrize("factor", [2.0**-7, 2.0, 2.0**9])
def test_units_do_not_matter(factor):
    maxima, interior = like_a_network(3, balls(3, (120, 130), 40, 9))
    scaled = WatershedParameters(
        radius=2,
        maxima_threshold=0.075 * factor,
        interior_threshold=0.2 * factor,
        interior_smooth=2,
        small_objects_threshold=15,
        fill_holes_threshold=15,
    )
    labels = segment_maps(maxima, interior, MESMER)
    assert labels.max() > 20
    assert np.array_equal(
        segment_maps(maxima * np.float32(factor), interior * np.float32(factor), scaled), labels
    )


def test_separate_disks_are_found_one_by_one():
    labels = np.zeros((100, 100), np.int32)
    grid = np.indices(labels.shape)
    for k, (y, x) in enumerate([(20, 20), (20, 70), (60, 45), (85, 85)], start=1):
        labels[(grid[0] - y) ** 2 + (grid[1] - x) ** 2 < 100] = k
    found = segment_maps(*like_a_network(1, labels), MESMER)
    assert found.max() == 4
    assert [np.bincount(found[labels == k]).argmax() for k in range(1, 5)] == [1, 2, 3, 4]
    for k in range(1, 5):
        both = ((found == k) & (labels == k)).sum()
        assert both / ((found == k) | (labels == k)).sum() > 0.7


def test_it_is_called_as_the_reference_is():
    parameters = inspect.signature(deep_watershed).parameters
    known = {name: p.default for name, p in parameters.items() if p.kind != p.KEYWORD_ONLY}
    assert known.pop("outputs") is inspect.Parameter.empty
    assert known == {
        "radius": 10,
        "maxima_threshold": 0.1,
        "interior_threshold": 0.01,
        "maxima_smooth": 0,
        "interior_smooth": 1,
        "maxima_index": 0,
        "interior_index": -1,
        "label_erosion": 0,
        "small_objects_threshold": 0,
        "fill_holes_threshold": 0,
        "pixel_expansion": None,
        "maxima_algorithm": "h_maxima",
    }


def test_images_of_a_batch_are_apart_and_other_channels_do_not_count():
    one, other = (like_a_network(s, balls(s, (60, 70), 12, 8)) for s in (1, 2))
    rng = np.random.default_rng(0)
    outputs = [
        np.stack([np.dstack([a, rng.random(a.shape)]), np.dstack([b, rng.random(b.shape)])])
        for a, b in zip(one, other, strict=True)
    ]
    labels = deep_watershed(outputs, radius=2)
    assert labels.shape == (2, 60, 70, 1)
    for i, maps in enumerate((one, other)):
        assert np.array_equal(labels[i], deep_watershed(batch(*maps), radius=2)[0])
    swapped = deep_watershed(outputs[::-1], radius=2, maxima_index=1, interior_index=0)
    assert np.array_equal(swapped, labels)


def test_volumes_have_their_holes_left():
    labels = balls(5, (20, 30, 30), 4, 8)
    maxima, interior = like_a_network(5, labels)
    interior[10, 15, 15] = 0
    plain = deep_watershed(batch(maxima, interior), radius=2, interior_smooth=0)
    filled = deep_watershed(
        batch(maxima, interior), radius=2, interior_smooth=0, fill_holes_threshold=50
    )
    assert plain.shape == (1, 20, 30, 30, 1)
    assert np.array_equal(plain, filled)


@pytest.mark.parametrize("dtype", [np.float16, np.uint8, np.uint16, bool, ">f4", np.float64])
def test_maps_of_other_types_are_computed_as_floats(dtype):
    image = (balls(7, (50, 60), 9, 8) > 0).astype(dtype)
    expected = deep_watershed(batch(image.astype(np.float32)) * 2, radius=2)
    assert expected.max() > 0
    assert np.array_equal(deep_watershed(batch(image) * 2, radius=2), expected)


def test_an_image_of_no_pixels_has_no_objects():
    assert deep_watershed(batch(np.zeros((0, 5), np.float32)) * 2).shape == (1, 0, 5, 1)


@pytest.mark.parametrize("which", ["maxima", "interior"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_with_a_count(which, value):
    images = {name: np.zeros((9, 9), np.float32) for name in ("maxima", "interior")}
    images[which][2:4, 3] = value
    counts = "2 NaN and 0 infinite" if np.isnan(value) else "0 NaN and 2 infinite"
    with pytest.raises(BadInput, match=f"{which} map.*{counts} of 81"):
        deep_watershed(batch(*images.values()))


IMAGE = np.zeros((1, 8, 9, 1), np.float32)


@pytest.mark.parametrize(
    ("outputs", "parameters", "message"),
    [
        ([IMAGE[0], IMAGE[0]], {}, r"outputs: expected \(N, Y, X, C\)"),
        ([IMAGE, IMAGE[..., :0]], {}, r"outputs: expected \(N, Y, X, C\)"),
        ([IMAGE, IMAGE[:, :4]], {}, r"equal shapes, \(1, 8, 9, 1\), found \(1, 4, 9, 1\)"),
        ([], {}, "maxima_index: expected the index of one of 0 outputs, found 0"),
        ([IMAGE, IMAGE], {"interior_index": 2}, "one of 2 outputs, found 2"),
        ([IMAGE.astype(complex)] * 2, {}, "real numbers, found complex128"),
        ([IMAGE] * 2, {"maxima_algorithm": "fast"}, "h_maxima or peak_local_max, found 'fast'"),
        ([IMAGE] * 2, {"numbering": "random"}, "canonical or reference, found 'random'"),
        ([IMAGE] * 2, {"tie_rule": "random"}, "tie_rule: expected local or reference, found 'rand"),
        ([IMAGE] * 2, {"radius": 0}, "radius: expected at least 1, found 0"),
        ([IMAGE] * 2, {"radius": 1.5}, "radius: expected a whole number, found 1.5"),
        ([IMAGE] * 2, {"label_erosion": 0.5}, "label_erosion: expected a whole number"),
        ([IMAGE] * 2, {"pixel_expansion": -2}, "pixel_expansion: expected 0 or more"),
        ([IMAGE] * 2, {"interior_smooth": -1}, "interior_smooth: expected 0 or more"),
        ([IMAGE] * 2, {"maxima_smooth": float("nan")}, "maxima_smooth: expected a finite"),
        ([IMAGE] * 2, {"small_objects_threshold": -3}, "small_objects_threshold: expected 0"),
        ([IMAGE] * 2, {"maxima_threshold": 0}, "more than 0 for h_maxima"),
        ([IMAGE] * 2, {"interior_threshold": float("inf")}, "interior_threshold: expected a fin"),
    ],
)
def test_bad_parameters_have_their_line(outputs, parameters, message):
    with pytest.raises(BadInput, match=message):
        deep_watershed(outputs, **parameters)
