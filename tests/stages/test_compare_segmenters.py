"""Segmenters side by side: what is better by construction comes out better, what lacks is told."""

import csv
import io
import json
import re

import numpy as np
import pytest

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.labels.numbering import canonical_labels
from cellmill.models.card import known_cards
from tests.segmentation.maps import balls
from tests.stages.by_command import stage

CARD = known_cards()["voronoi_otsu"]
TOTALS = {"wall_s": 1.5, "peak_rss_bytes": 3 << 20}
STAGES = ("preprocess", "predict", "postprocess")


def truth_of(seed):
    return canonical_labels(balls(seed, (90, 110), 15, 9))


def segmented(truth, name):
    """A segmentation that finds all, and one that loses every third object and shifts the rest."""
    return truth if name == "good" else np.roll(truth * (truth % 3 > 0), 1, axis=0)


def write(folder, names=("good", "worse"), seeds=(1, 2, 3), failed=(), without_truth=()):
    truths = {f"image{seed}": truth_of(seed) for seed in seeds}
    with BatchWriter(folder / "images") as images, BatchWriter(folder / "truth") as truth:
        for name, labels in truths.items():
            pixels = (200 * (labels > 0)).astype(np.uint8)[..., None]
            images.write(name, {"image": pixels}, axes={"image": "YXC"})
            if name in without_truth:
                truth.annotate(name, truth=False)
            else:
                truth.write(name, {"labels": labels}, axes={"labels": "YX"})
    for segmenter in names:
        place = folder / segmenter
        with BatchWriter(place / "labels", attributes={"model": CARD.to_dict()}) as out:
            for name, labels in truths.items():
                if name in failed and segmenter == names[-1]:
                    out.skip(Entry(name), f"image '{name}': expected light, found none")
                else:
                    found = segmented(labels, segmenter).astype(np.int32)
                    out.write(name, {"nuclear": found}, axes={"nuclear": "YX"})
        batches = {"labels": place / "labels", "truth": folder / "truth"}
        assert not stage("metrics", **batches, scores=place / "scores")
        for each in STAGES:
            notes = {"postprocess": {"segmentation": {"nuclear": {"method": "voronoi_otsu"}}}}
            document = {"stage": each, "totals": TOTALS, "notes": notes.get(each, {})}
            (place / f"{each}.json").write_text(json.dumps(document))
    return folder


def compare(folder, names=("good", "worse"), listed=None, **reference):
    of = [folder / name for name in names]
    out = {
        "comparison": folder / "out.html",
        "table": folder / "out.csv",
        "numbers": folder / "out.json",
    }
    return stage(
        "compare_segmenters",
        images=folder / "images",
        truth=folder / "truth",
        labels=[place / "labels" for place in of],
        scores=[place / "scores" for place in of],
        **{f"{each}_records": [place / f"{each}.json" for place in of] for each in STAGES},
        segmenters=json.dumps([{"name": name} for name in listed or names]),
        **reference,
        **out,
    ), out


def test_the_better_one_is_better_and_the_numbers_agree_with_metrics(tmp_path):
    code, out = compare(write(tmp_path))
    assert code == 0
    document = json.loads(out["numbers"].read_text())
    found = document["kinds"]["nuclear"]
    good, worse = (found["segmenters"][name] for name in ("good", "worse"))
    assert good["behind_best"] is None
    assert all(each["value"] == 1 for each in good["scores"].values())
    behind = worse["behind_best"]["ap_50"]
    assert 0 < behind["low"] <= behind["value"] <= behind["high"]
    scored = [
        json.loads(path.read_text()) for path in sorted((tmp_path / "worse/scores").glob("i*.json"))
    ]
    tp, fp = (sum(each["nuclear"]["matching"][0][key] for each in scored) for key in ("tp", "fp"))
    objects = sum(int(truth_of(seed).max()) for seed in (1, 2, 3))
    assert worse["pooled"]["matching"][0]["tp"] == tp
    assert worse["scores"]["ap_50"]["value"] == pytest.approx(tp / (objects + fp))
    # Each true object that the worse one does not match is found by the other.
    assert found["differing_objects"] == objects - tp
    rows = list(csv.DictReader(io.StringIO(out["table"].read_text())))
    assert [row["segmenter"] for row in rows] == ["good", "worse"]
    assert float(rows[1]["ap_50"]) == pytest.approx(tp / (objects + fp), abs=1e-6)
    assert (rows[0]["method"], rows[0]["total_s"]) == ("voronoi_otsu", "4.5")
    assert rows[0]["peak_memory_bytes"] == str(3 << 20)


def test_the_page_is_whole_in_itself_and_shows_cells_that_differ(tmp_path):
    names = ("good", "<b>worse</b>")
    code, out = compare(write(tmp_path), listed=names)
    assert code == 0
    page = out["comparison"].read_text()
    assert "<b>worse" not in page
    assert "&lt;b&gt;worse" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    # Two panels, and of each of 12 cells the truth and two segmenters.
    assert page.count("data:image/") == 2 + 12 * 3
    assert "no network" in page


def test_what_one_lacks_counts_for_none_and_is_told(tmp_path):
    folder = write(tmp_path, failed=("image2",), without_truth=("image3",))
    code, out = compare(folder)
    assert code == 0
    document = json.loads(out["numbers"].read_text())
    assert document["kinds"]["nuclear"]["images"] == ["image1"]
    assert document["left_out"] == {"image2": "not segmented by worse", "image3": "no truth"}
    scores = document["kinds"]["nuclear"]["segmenters"]["worse"]["scores"]
    assert all(each["low"] is None for each in scores.values())
    page = out["comparison"].read_text()
    assert "One image: there are no intervals" in page
    assert "image2 does not count: not segmented by worse" in page


@pytest.mark.parametrize(
    ("listed", "without_truth", "says"),
    [
        (("good",), (), "segmenters: expected 1 batches and records of each kind"),
        (("same", "same"), (), "segmenters: expected a name of its own for each"),
        (None, ("image1", "image2", "image3"), "truth: expected true labels of at least one image"),
    ],
)
def test_what_cannot_be_compared_is_one_line(tmp_path, capsys, listed, without_truth, says):
    folder = write(tmp_path, without_truth=without_truth)
    capsys.readouterr()
    code, out = compare(folder, listed=listed)
    assert code == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("cellmill")]
    assert says in line
    assert not any(path.exists() for path in out.values())


def test_a_batch_s_labels_are_read_by_name_in_any_order(tmp_path):
    folder = write(tmp_path)
    labels = folder / "worse" / "labels"
    arrays = {e.name: Batch.open(labels).read(e, "nuclear") for e in Batch.open(labels).entries}
    with BatchWriter(folder / "turned", attributes={"model": CARD.to_dict()}) as out:
        for name in reversed(arrays):
            out.write(name, {"nuclear": arrays[name]}, axes={"nuclear": "YX"})
    _, out = compare(folder)
    before = out["numbers"].read_text()
    labels.rename(folder / "before")
    (folder / "turned").rename(labels)
    _, out = compare(folder)
    assert out["numbers"].read_text() == before


def test_deepcells_own_package_has_a_row_below_the_others(tmp_path):
    write(tmp_path, ("good", "worse"))
    reference = tmp_path / "worse"
    document = {
        "stage": "deepcell_reference",
        "totals": TOTALS,
        "notes": {},
        "libraries": {"deepcell": "0.12.10", "tensorflow": "2.8.4"},
    }
    (reference / "record.json").write_text(json.dumps(document))
    given = {
        "reference_labels": reference / "labels",
        "reference_scores": reference / "scores",
        "reference_record": reference / "record.json",
    }
    code, out = compare(tmp_path, ("good",), **given)
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out["table"].read_text())))
    assert [row["segmenter"] for row in rows] == ["good", "deepcell_reference"]
    assert (rows[1]["method"], rows[1]["deepcell_reference_s"]) == ("deepcell", "1.5")
    assert float(rows[1]["ap_50"]) < float(rows[0]["ap_50"]) == 1
    assert "deepcell 0.12.10, tensorflow 2.8.4" in out["comparison"].read_text()


def test_of_the_reference_all_is_given_or_nothing(tmp_path, capsys):
    write(tmp_path, ("good", "worse"))
    code, out = compare(tmp_path, ("good",), reference_labels=tmp_path / "worse" / "labels")
    assert code == 2
    assert "the reference: expected its labels, scores and record" in capsys.readouterr().err
    assert not out["comparison"].exists()
