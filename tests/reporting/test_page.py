"""A report holds what it should, escapes what users wrote, and asks nothing of the network."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from cellmill.errors import BadInput
from cellmill.reporting import render_report

VOID = {"meta", "img", "input", "br", "link", "hr"}
NASTY = """a"b'c <script>alert("x")</script> &amp; {{ 7*7 }} ümlaut"""


class Page(HTMLParser):
    """Collects a page's elements and text, and checks that tags are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.text, self.scripts = [], [], [], {}
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[self.elements[-1][1].get("id", "")] = data
        elif self.open and self.open[-1] != "style":
            self.text.append(data.strip())

    @property
    def words(self):
        return " ".join(" ".join(t for t in self.text if t).split())

    def by_id(self, name):
        return next((a for _, a in self.elements if a.get("id") == name), None)


def test_a_report_is_well_formed_and_says_what_was_found(make_subject):
    page = Page(render_report(make_subject()))
    assert "48" in page.words
    assert "pixel size 0.5 µm/px (OME-XML)" in page.words
    assert "nuclei/mm²" in page.words
    assert "F1 at IoU 0.5" in page.words
    assert "DeepCell object errors" in page.words
    assert "Mean intensity, DAPI" in page.words
    assert "predict" in page.words
    assert page.by_id("show-nuclear") is not None
    assert page.by_id("show-truth-nuclear") is not None
    assert "checked" in page.by_id("show-nuclear")
    assert "checked" not in page.by_id("show-truth-nuclear")


def test_nothing_is_fetched(make_subject):
    page = Page(render_report(make_subject(source="https://example.org/a.tif")))
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "a")
        assert not {"href", "srcset", "data", "action", "poster"} & set(attributes)
        assert attributes.get("src", "data:image/").startswith("data:image/")
    policy = next(a["content"] for t, a in page.elements if a.get("http-equiv"))
    assert "default-src 'none'" in policy
    style_and_script = render_report(make_subject())
    assert not re.search(r"(?:url\(|@import|fetch\(|XMLHttpRequest|\bimport\()", style_and_script)


def test_what_users_wrote_is_text_and_never_markup(make_subject):
    subject = make_subject(
        name=NASTY, channels=(NASTY,), source=NASTY, model=NASTY, remarks=[NASTY], mpp_source=NASTY
    )
    page = Page(render_report(subject))
    names = [t for t, _ in page.elements if t == "script"]
    plain = Page(render_report(make_subject()))
    assert len(names) == len([t for t, _ in plain.elements if t == "script"])
    assert page.words.count('<script>alert("x")</script>') >= 4
    assert "{{ 7*7 }}" in page.words
    data = json.loads(page.scripts["viewer-data"])
    assert data["channels"] == [NASTY]
    assert any(NASTY in field["title"] for field in data["layers"][-1]["fields"])


def test_no_name_turns_the_page_round(make_subject):
    turned = "a\u202egnp.exe\u2066\x1b[2J\x9bb"
    subject = make_subject(
        name=turned, channels=(turned,), source=turned, model=turned, remarks=[turned]
    )
    html = render_report(subject)
    assert not set(turned) & set(html) & set("\u202e\u2066\x1b\x9b")
    page = Page(html)
    assert "a\\u202egnp.exe" in page.words
    told = json.dumps(json.loads(page.scripts["viewer-data"]), ensure_ascii=False)
    assert "\u202e" not in told
    assert "a\\\\u202egnp.exe" in told


def test_without_truth_there_is_no_word_of_accuracy(make_subject):
    page = Page(render_report(make_subject(truth=False)))
    assert "Accuracy" not in page.words
    assert "IoU" not in page.words
    assert page.by_id("show-truth-nuclear") is None


@pytest.mark.parametrize(
    ("by", "says"),
    [
        ("diameter", "segmented at 0.25 times its size, for a given diameter of 109 px"),
        ("auto", "segmented at 0.25 times its size, for an estimated diameter of 109 px"),
        ("mpp", "segmented at 0.25 times its size, by its pixel size"),
    ],
)
def test_the_scale_that_an_image_was_segmented_at_is_a_fact(make_subject, by, says):
    subject = make_subject(mpp=None)
    own = Page(render_report(subject)).words
    assert "segmented at its own scale" in own
    assert "times its size" not in own
    scaled = replace(subject, scale=(0.25, 0.25), scaled_by=by, diameter=109.0)
    words = Page(render_report(scaled)).words
    assert says in words
    assert "segmented at its own scale" not in words
    assert "nothing is given in microns" in words


def test_an_unknown_pixel_size_is_warned_of_with_the_diameter_in_px(make_subject):
    page = Page(render_report(make_subject(mpp=None)))
    assert re.search(r"pixel size is unknown.*median diameter found is 13\.\d px", page.words)
    assert "µm²" not in page.words
    assert "/mm²" not in page.words
    known = Page(render_report(make_subject()))
    assert not [a for _, a in known.elements if a.get("class") == "banner"]


def test_an_empty_channel_and_an_image_without_cells_are_said(make_subject):
    subject = make_subject(truth=False)
    blank = np.zeros_like(subject.labels["nuclear"])
    none = {key: column[:0] for key, column in subject.measurements["nuclear"].items()}
    page = Page(
        render_report(
            make_subject(
                truth=False,
                image=np.full((*blank.shape, 1), 7, np.uint16),
                labels={"nuclear": blank},
                measurements={"nuclear": none},
            )
        )
    )
    assert "Channel DAPI is empty: every pixel is 7." in page.words
    assert "No nuclei were found." in page.words


def test_a_channel_named_by_its_number_is_called_a_channel(make_subject):
    page = Page(render_report(make_subject(channels=("0",))))
    assert "Mean intensity, channel 0" in page.words
    fields = json.loads(page.scripts["viewer-data"])["layers"][-1]["fields"]
    assert "Mean channel 0" in [field["title"] for field in fields]


def test_saturation_is_warned_of(make_subject):
    image = make_subject().image.copy()
    image[:40] = 65535
    page = Page(render_report(make_subject(image=image)))
    assert re.search(r"saturated in 33\.3 % of its pixels", page.words)


def test_both_compartments_have_a_switch_a_table_and_a_curve_each(make_subject):
    page = Page(render_report(make_subject(both=True, channels=("DAPI", "membrane", "CD8"))))
    for name in ("whole_cell", "nuclear", "truth-whole_cell", "truth-nuclear"):
        assert page.by_id(f"show-{name}") is not None
        assert page.by_id(f"lines-{name}") is not None
    assert page.by_id("channel-1") is not None
    assert page.words.count("By IoU threshold") == 2
    assert "DAPI in magenta, membrane in green." in page.words
    assert "CD8" in page.words  # its quality is told, too
    assert page.by_id("more-2") is not None
    assert page.by_id("picture-more-2") is not None
    assert "Other channels can be added" in page.words


@pytest.mark.parametrize("mpp", [(0.5, 0.25)])
def test_an_anisotropic_pixel_is_said_x_first(make_subject, mpp):
    assert "0.25 × 0.5 µm/px, x × y" in Page(render_report(make_subject(mpp=mpp))).words


def test_a_large_image_is_shown_reduced_and_says_so(make_subject):
    page = Page(render_report(make_subject(), max_side=50))
    assert "Shown reduced 1 : 4" in page.words
    data = json.loads(page.scripts["viewer-data"])
    assert (data["width"], data["height"], data["factor"]) == (40, 30, 4)
    assert data["layers"][-1]["rows"] == 48


def test_more_values_than_a_page_may_carry_lose_columns_not_cells(make_subject):
    from cellmill.reporting.cells import columns_of

    table = make_subject(channels=("DAPI", "CD8")).measurements["nuclear"]
    every = [c.key for c in columns_of(table, ["DAPI"])]
    assert every[:3] == ["label", "area_um2", "mean_DAPI"]
    assert every.index("mean_CD8") > every.index("touches_edge")
    assert not any(key.startswith("bbox_") for key in every)
    assert "major_axis_um" in every
    assert "major_axis_px" not in every
    few = columns_of(table, ["DAPI"], limit=48 * 4)
    assert [c.key for c in few] == every[:4]
    assert all(len(c.values) == 48 for c in few)


def test_iou_with_truth_is_the_greatest_overlap(make_subject):
    from cellmill.reporting.cells import with_truth

    labels = np.array([[1, 1, 1, 0, 2, 2]])
    truth = np.array([[0, 4, 4, 4, 0, 0]])
    found = with_truth({"label": np.array([1, 2])}, labels, truth)["iou_with_truth"]
    assert found.tolist() == [0.5, 0.0]


def test_labels_of_another_shape_are_refused(make_subject):
    subject = make_subject()
    with pytest.raises(BadInput, match="labels 'truth nuclear'"):
        render_report(replace(subject, truth={"nuclear": np.zeros((3, 3), np.int32)}))
