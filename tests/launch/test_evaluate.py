"""What `make evaluate-model` shows a model: pictures varied as said, and figures put together."""

import cv2
import numpy as np
import pytest
import tifffile

from cellmill.datasets.samples import Sample
from cellmill.segmenter import Segmenter
from launch import evaluate


def picture(dtype=np.uint16):
    """Two discs on an even background of 100 grey values."""
    y, x = np.mgrid[:80, :96]
    labels = np.zeros((80, 96), np.int32)
    labels[(y - 30) ** 2 + (x - 30) ** 2 < 144] = 1
    labels[(y - 50) ** 2 + (x - 70) ** 2 < 144] = 2
    return np.where(labels > 0, 200, 100).astype(dtype), labels


@pytest.mark.parametrize("factor", [0.5, 2])
def test_zoom_keeps_light_dtype_and_objects(factor):
    image, labels = picture()
    drawn, same = evaluate.zoomed(image, labels, factor)
    assert drawn.dtype == image.dtype
    assert drawn.shape == same.shape == (80 * factor, 96 * factor)
    assert set(np.unique(same)) == {0, 1, 2}
    for label in (0, 1, 2):
        area = np.count_nonzero(labels == label) * factor**2
        assert np.count_nonzero(same == label) == pytest.approx(area, rel=0.05)
        assert np.median(drawn[same == label]) == (200 if label else 100)


def test_zoom_does_not_wrap_around_at_the_greatest_value():
    image, labels = picture(np.uint8)
    image[labels > 0] = 255
    drawn, _ = evaluate.zoomed(image, labels, 2)
    assert drawn[labels.repeat(2, 0).repeat(2, 1) > 0].min() > 150


def test_every_second_object_keeps_a_part_of_its_light():
    image, labels = picture()
    drawn, same = evaluate.dimmed(image, labels)
    np.testing.assert_array_equal(same, labels)
    assert drawn.dtype == image.dtype
    assert np.median(drawn[labels == 1]) == pytest.approx(105, abs=1)
    assert np.median(drawn[labels == 2]) == 200
    assert np.median(drawn[labels == 0]) == 100


def test_8_bits_span_what_the_image_spans():
    image, labels = picture()
    drawn, _ = evaluate.in_8_bits(image, labels)
    assert drawn.dtype == np.uint8
    assert (drawn.min(), drawn.max()) == (0, 255)
    flat, _ = evaluate.in_8_bits(np.full((4, 4), 7, np.uint16), labels[:4, :4])
    assert (flat == 0).all()


def test_blur_moves_no_light():
    image, labels = picture()
    drawn, _ = evaluate.blurred(image, labels)
    assert drawn.mean() == pytest.approx(image.mean(), rel=0.01)
    assert drawn[30, 30] == 200
    assert 100 < drawn[30, 43] < 200


def test_series_are_those_of_the_names():
    assert evaluate._series_of("test", "test_2023-05-31_misc_11") == "2023-05-31_misc"
    assert evaluate._series_of("varied", "zoom-0.5_validation_2023-05-31_misc_4") == "zoom-0.5"
    assert evaluate._series_of("sample", "sample") == "sample"


def test_card_and_table_say_the_same_figures():
    figures = {
        "objects": 10,
        "predicted": 11,
        "average_precision": {"0.5": 0.8, "0.7": 0.7, "0.9": 0.1},
    }
    measured = {
        "test": {
            "pooled": figures,
            "per_image_mean": figures["average_precision"],
            "series": {"a": figures, "b": figures},
            "images": {"x": figures},
        },
        "varied": {"pooled": figures, "series": {"zoom-2": figures}},
    }
    card = evaluate.on_card(measured)
    assert card["test"]["pooled"] == figures
    assert "images" not in card["test"]
    assert set(card["varied"]) == {"command", "code", "series"}
    lines = evaluate.table(measured)
    assert [line.split()[0] for line in lines[1:]] == ["test", "a", "b", "zoom-2"]
    assert all(line.split()[1:] == ["10", "11", "0.800", "0.700", "0.100"] for line in lines[1:])


@pytest.fixture
def discs(tmp_path):
    """Files of bright discs, 24 px wide, with their truth: without a pixel size, and of 0.7 µm."""
    draw = np.random.default_rng(0)
    y, x = np.mgrid[:200, :240]
    labels = np.zeros((200, 240), np.int32)
    for k, centre in enumerate([(40, 40), (40, 100), (40, 170), (100, 60), (110, 150), (160, 100)]):
        labels[np.hypot(y - centre[0], x - centre[1]) < 12] = k + 1
    light = cv2.GaussianBlur((labels > 0).astype(np.float32), (0, 0), 1.5)
    image = np.rint(200 + 900 * light + draw.normal(0, 20, light.shape)).astype(np.uint16)
    found = []
    for name, metadata in (("plain", {}), ("sized", {"PhysicalSizeX": 0.7, "PhysicalSizeY": 0.7})):
        paths = tmp_path / f"{name}.ome.tif", tmp_path / f"{name}.labels.tif"
        tifffile.imwrite(paths[0], image, ome=True, metadata=metadata)
        tifffile.imwrite(paths[1], labels)
        found.append(Sample(*paths, paths[1]))
    return found


def test_the_zoom_curve_is_flat_where_the_scale_is_told_or_found(discs):
    curve = evaluate.zoom_curve(discs, Segmenter(), (0.5, 1.0, 6.0))
    assert curve["images"] == 2
    assert curve["objects"] == {"nothing": 12, "auto": 12, "diameter": 12, "pixel_size": 6}
    for told in ("auto", "diameter", "pixel_size"):
        assert curve[told] == {"0.5": 1.0, "1": 1.0, "6": 1.0}
    assert curve["nothing"]["1"] == 1
    # 144 px wide, they break apart.
    assert curve["nothing"]["6"] < 0.5


def test_zoom_curves_are_on_the_card_and_in_the_table():
    zooms = {f"{zoom:g}": 0.5 for zoom in evaluate.ZOOMS}
    curve = {
        "measured": "x",
        "images": 3,
        "objects": dict.fromkeys(evaluate.TOLD, 10),
        **dict.fromkeys(evaluate.TOLD, zooms),
    }
    measured = {"test-zooms": curve}
    assert evaluate.on_card(measured)["test-zooms"].items() >= curve.items()
    lines = evaluate.table(measured)
    assert lines[1].split()[-len(zooms) :] == [*zooms]
    assert all(line.split()[-7:] == ["0.500"] * 7 for line in lines[2:])
    assert [line.split()[1] for line in lines[2:]] == [*evaluate.TOLD]


def test_a_wrong_set_is_refused_in_one_line(capsys):
    assert evaluate.main(["--sets", "test,nonsense"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
