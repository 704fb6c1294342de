"""A summary holds every image, pools what should be pooled, and survives a manifest."""

import csv
import io
import json
import re

import numpy as np
import pytest

from cellmill.metrics import evaluate
from cellmill.reporting.image_summary import (
    CompartmentSummary,
    ImageSummary,
    summarise_image,
)
from cellmill.reporting.overlay import overlay
from cellmill.reporting.subject import TruthSource, assess
from cellmill.reporting.summary import (
    Summary,
    render_summary,
    summary_csv,
    summary_json,
)
from cellmill.reporting.timing import image_seconds, stage_rows, stage_totals


def summarised(subject):
    return summarise_image(subject, assess(subject), overlay(subject.image, subject.labels))


@pytest.fixture(scope="module")
def summary(make_subject, make_record):
    images = [
        summarised(make_subject(name='first "one"')),
        summarised(make_subject(name="<b>second</b>", truth=False, mpp=None)),
        ImageSummary("third", error="image 'third.tif': expected a page, found none"),
    ]
    return Summary(images, [make_record("predict", ["a", "b"]), make_record("predict", ["c"])])


def test_what_is_kept_survives_json(make_subject):
    kept = summarised(make_subject(both=True))
    attributes = json.loads(json.dumps(kept.to_attributes(), allow_nan=False))
    assert ImageSummary.from_attributes(kept.name, attributes) == kept


def test_what_is_kept_is_small(make_subject):
    assert len(json.dumps(summarised(make_subject(both=True)).to_attributes())) < 20_000


def test_what_is_kept_is_what_was_found(make_subject):
    subject = make_subject()
    found = summarised(subject).compartments["nuclear"]
    areas = subject.measurements["nuclear"]["area_px"]
    assert found.count == len(areas)
    assert found.median_area_um2 == pytest.approx(np.median(areas) / 4)
    assert found.per_mm2 == pytest.approx(len(areas) / (120 * 160 * 0.25e-6))
    assert found.scores == subject.scores["nuclear"]
    assert summarised(subject).seconds == pytest.approx(0.35)


def test_an_image_without_cells_is_kept_without_nan(make_subject):
    subject = make_subject(truth=False)
    none = {key: column[:0] for key, column in subject.measurements["nuclear"].items()}
    blank = np.zeros_like(subject.labels["nuclear"])
    kept = summarised(
        make_subject(truth=False, labels={"nuclear": blank}, measurements={"nuclear": none})
    )
    assert kept.compartments["nuclear"].median_area_px is None
    json.dumps(kept.to_attributes(), allow_nan=False)


def test_the_table_has_a_row_an_image(summary):
    rows = list(csv.DictReader(io.StringIO(summary_csv(summary))))
    assert [row["name"] for row in rows] == ['first "one"', "<b>second</b>", "third"]
    assert [row["status"] for row in rows] == ["ok", "ok", "skipped"]
    assert rows[0]["count"] == "48"
    half = summary.images[0].compartments["nuclear"].scores["matching"][0]
    assert float(rows[0]["f1_50"]) == pytest.approx(half["f1"], abs=1e-5)
    assert rows[1]["f1_50"] == rows[1]["median_area_um2"] == rows[2]["count"] == ""
    assert rows[2]["error"].startswith("image 'third.tif'")


def test_two_compartments_have_columns_each(make_subject):
    rows = list(
        csv.DictReader(io.StringIO(summary_csv(Summary([summarised(make_subject(both=True))], []))))
    )
    assert rows[0]["whole_cell_count"] == rows[0]["nuclear_count"] == "48"


def test_accuracy_is_pooled_over_objects():
    truth = np.array([[1, 1, 0, 2, 2, 0, 3, 3]])
    good, bad = evaluate(truth, truth), evaluate(truth[:, :2], truth[:, :2] * 0)
    images = [
        ImageSummary(name, compartments={"nuclear": CompartmentSummary(count=1, scores=scores)})
        for name, scores in (("good", good), ("bad", bad))
    ]
    pools = Summary(images, []).pooled["nuclear"]
    assert pools["pooled"]["matching"][0]["recall"] == 3 / 4
    assert pools["per_image_mean"]["matching"][0]["recall"] == 1 / 2


def test_the_json_holds_the_same(summary):
    document = json.loads(summary_json(summary))
    assert [image["name"] for image in document["images"]] == [
        'first "one"',
        "<b>second</b>",
        "third",
    ]
    assert document["images"][0]["compartments"]["nuclear"]["count"] == 48
    assert document["images"][1]["compartments"]["nuclear"]["scores"] is None
    assert document["pooled"]["nuclear"]["images"] == 1
    assert document["stages"][0]["batches"] == 2


def test_the_page_lists_links_and_escapes(summary):
    page = render_summary(summary, title="<i>run</i>")
    assert "<b>second" not in page
    assert "<i>run" not in page
    assert 'href="first%20%22one%22/report.html"' in page
    assert 'href="%3Cb%3Esecond%3C%2Fb%3E/report.html"' in page
    assert 'href="third/' not in page
    assert "expected a page, found none" in page.replace("&#39;", "'")
    assert page.count('class="thumb"') == 2
    assert not re.search(r"https?://", page)
    assert "href" not in render_summary(summary, links=False)


def test_the_truth_of_each_image_stands_in_page_and_json(make_subject):
    rule = "the file name without '_masks'"
    about = TruthSource("/masks/a\u202e_masks.png", rule, "mask", "a mask")
    with_truth = summarised(make_subject(name="a", source="/images/a.tif", truth_source=about))
    without = summarised(make_subject(name="b", truth=False))
    again = ImageSummary.from_attributes("a", json.loads(json.dumps(with_truth.to_attributes())))
    assert again == with_truth
    whole = Summary([with_truth, without], [])
    first, second = json.loads(summary_json(whole))["images"]
    assert first["source"] == "/images/a.tif"
    assert first["truth"] == vars(about)
    assert second["truth"] is None
    page = render_summary(whole).replace("&#39;", "'")
    for text in ("/masks/a\\u202e_masks.png", rule, "a mask"):
        assert f">{text}<" in page
    assert "1 of 2 images have no truth: b." in page
    assert "Paired by" not in render_summary(Summary([without], []))
    assert "have no truth" not in render_summary(Summary([without], []))


def test_thumbnails_stop_at_their_bound(monkeypatch, summary):
    monkeypatch.setattr("cellmill.reporting.summary.THUMBNAIL_LIMIT", 10)
    assert render_summary(summary).count('class="thumb"') == 0


def test_a_run_in_which_nothing_went_well_still_has_a_page():
    page = render_summary(Summary([ImageSummary("a", error="no")], []))
    assert "left out" in page


def test_stage_totals_add_up_but_memory_peaks(make_record):
    one, two = make_record("predict", ["a"]), make_record("predict", ["b", "c"])
    two["totals"]["peak_rss_bytes"] = 5
    (total,) = stage_totals([one, two])
    assert total["wall_s"] == one["totals"]["wall_s"] + two["totals"]["wall_s"]
    assert total["peak_rss_bytes"] == one["totals"]["peak_rss_bytes"]
    assert stage_totals(stage_totals([one, two])) == [total]
    assert image_seconds([one, two], "c") == {"predict": 0.25}


def test_rows_of_stages_keep_their_order_and_share(make_record):
    records = [make_record("b", ["x"], wall=3.0), make_record("a", ["x"], wall=1.0)]
    rows, whole = stage_rows(stage_totals(records), image_seconds(records, "x"), records)
    assert [row.name for row in rows] == ["b", "a"]
    assert [row.share for row in rows] == [100, 50]
    assert whole.image_time == "4.00 s"
    assert "numpy 2.2.6" in {d.value for d in rows[0].details}
