"""Images are found, named, matched with their truth and cut into batches."""

import json

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from cellmill.errors import BadInput
from launch.runs.inputs import BATCH_BYTES, MAX_BATCHES, cut, find_items


def tiff(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.zeros((2, 2), "u1"))
    return path


def test_a_folder_gives_its_images_in_order(tmp_path):
    for name in ("b.tif", "a.ome.tif", "notes.txt"):
        tiff(tmp_path / name)
    items = find_items(str(tmp_path))
    assert [i["name"] for i in items] == ["a", "b"]
    assert all(i["truth"] == "" and i["digest"].startswith("sha256:") for i in items)


def test_one_truth_belongs_to_one_image_whatever_its_name(tmp_path):
    image, truth = tiff(tmp_path / "img2d.tif"), tiff(tmp_path / "mask2d.tif")
    (item,) = find_items(str(image), str(truth))
    assert (item["image"], item["truth"]) == (str(image), str(truth))


def test_truth_is_matched_by_name(tmp_path):
    for name in ("a", "b", "c", "d"):
        tiff(tmp_path / "images" / f"{name}.tif")
    for name in ("a.tif", "b_mask.tif", "c_cp_masks.tif"):
        tiff(tmp_path / "truth" / name)
    items = find_items(str(tmp_path / "images"), str(tmp_path / "truth"))
    assert [bool(i["truth"]) for i in items] == [True, True, True, False]


def test_truths_of_no_image_are_refused(tmp_path):
    tiff(tmp_path / "images" / "a.tif")
    tiff(tmp_path / "images" / "b.tif")
    tiff(tmp_path / "truth" / "z.tif")
    with pytest.raises(BadInput, match=r"z\.tif"):
        find_items(str(tmp_path / "images"), str(tmp_path / "truth"))


def test_a_subset_of_the_images_takes_its_truths_from_the_whole_folder(tmp_path, capsys):
    tiff(tmp_path / "images" / "a.tif")
    tiff(tmp_path / "images" / "b.tif")
    for name in ("a_mask.tif", "b_mask.tif", "c_mask.tif"):
        tiff(tmp_path / "truth" / name)
    items = find_items(str(tmp_path / "images"), str(tmp_path / "truth"))
    assert all(i["truth"] for i in items)
    assert "c_mask.tif" in capsys.readouterr().err


def test_the_digests_follow_the_bytes_of_image_and_truth(tmp_path):
    image, truth = tiff(tmp_path / "a.tif"), tiff(tmp_path / "a_mask.png")
    tifffile.imwrite(truth, np.ones((2, 2), "u1"))
    (before,) = find_items(str(image), str(truth))
    tifffile.imwrite(truth, np.full((2, 2), 2, "u1"))
    (after,) = find_items(str(image), str(truth))
    assert before["digest"] == after["digest"]
    assert before["truth_digest"] != after["truth_digest"]


def test_what_cannot_be_read_is_refused_or_left_for_the_stage_to_skip(tmp_path):
    tiff(tmp_path / "ok.tif")
    (tmp_path / "lost.tif").symlink_to("/nowhere/lost.tif")
    with pytest.raises(BadInput, match=r"lost\.tif': expected a file, found a link to '/nowhere"):
        find_items(str(tmp_path))
    items = find_items(str(tmp_path), skip_unreadable=True)
    assert [(i["name"], bool(i["digest"])) for i in items] == [("lost", False), ("ok", True)]


def test_files_of_a_run_give_their_names_to_no_image(tmp_path):
    for name in ("artifacts", "logs", "summary.html", "latest"):
        tiff(tmp_path / f"{name}.tif")
    items = find_items(str(tmp_path), taken={"artifacts", "logs", "summary.html", "run.json"})
    assert [i["name"] for i in items] == ["artifacts.tif", "latest", "logs.tif", "summary.html.tif"]


def test_names_with_quotes_and_spaces_are_found(tmp_path):
    path = tiff(tmp_path / 'it\'s a "test" µ.tif')
    (item,) = find_items(str(path))
    assert item["image"] == str(path)


@given(count=st.integers(1, 300), workers=st.integers(1, 8), length=st.integers(1, 2000))
def test_batches_hold_every_image_once_in_order_and_fit_an_argument(count, workers, length):
    items = [{"image": "x" * length, "name": str(i)} for i in range(count)]
    batches = cut(items, workers)
    assert [i for b in batches for i in b] == items
    assert 1 <= len(batches) <= MAX_BATCHES
    assert max(len(b) for b in batches) - min(len(b) for b in batches) <= 1
    assert max(len(json.dumps(b)) for b in batches) < 2 * BATCH_BYTES


def test_too_many_images_are_refused():
    items = [{"image": "x" * 1000, "name": str(i)} for i in range(5000)]
    with pytest.raises(BadInput, match="run it in parts"):
        cut(items, 2)
