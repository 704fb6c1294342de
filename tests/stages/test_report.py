"""The report stage, on what the stages before it wrote; and on what they did not."""

import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract.cli import main
from cellmill.contract.spec import StageSpec
from cellmill.reporting import overlay

CARD = {"name": "cellmill-nuclei", "version": "0.1.0"}


def cells(shape=(90, 110), step=18, radius=6, offset=0):
    labels = np.zeros(shape, np.int32)
    y, x = np.mgrid[: shape[0], : shape[1]]
    centres = [
        (row, column)
        for row in range(step // 2, shape[0], step)
        for column in range(step // 2, shape[1], step)
    ]
    for label, (row, column) in enumerate(centres, 1):
        labels[(y - row - offset) ** 2 + (x - column) ** 2 <= radius**2] = label
    return labels


def picture(labels, channels=2):
    image = np.random.default_rng(0).poisson(30, (*labels.shape, channels)).astype(np.uint16)
    image[..., 0] += (labels > 0) * np.uint16(300)
    return image


class Run:
    """A folder with what the stages before the report wrote for some images."""

    def __init__(self, folder, names=("a",), compartments=("nuclear",), truth=True, skipped=()):
        self.folder = folder
        self.labels = {c: cells(radius=6 if c == "whole_cell" else 4) for c in compartments}
        self.image = picture(next(iter(self.labels.values())))
        with (
            BatchWriter(folder / "images") as images,
            BatchWriter(folder / "labels", {"model": CARD}) as labels,
            BatchWriter(folder / "truth") as true,
        ):
            for name in names:
                if name in skipped:
                    for out in (images, labels, true):
                        out.skip(Entry(name), f"image '{name}.tif': expected a page, found none")
                    continue
                images.write(
                    name,
                    {"image": self.image},
                    axes={"image": "YXC"},
                    mpp=(0.5, 0.5),
                    mpp_source="OME-XML",
                    channels=("DAPI", "CD8"),
                    attributes={"source": f"/data/{name}.tif", "segmentation_channels": [0, -1]},
                )
                labels.write(name, self.labels, axes=dict.fromkeys(self.labels, "YX"))
                if truth:
                    true.write(name, {"labels": cells(offset=2)}, axes={"labels": "YX"})
                else:
                    with true.create(name, {}, attributes={"truth": False}):
                        pass
        self.stage("measure", "images", "labels", measurements="measurements", record="measured")
        self.stage("metrics", "labels", "truth", scores="scores", record="scored")

    def path(self, name):
        return self.folder / name

    def stage(self, name, *inputs, **outputs):
        flags = [x for i in inputs for x in (f"--{i}", str(self.path(i)))]
        flags += [x for k, v in outputs.items() for x in (f"--{k}", str(self.path(v)))]
        code = main([name, *flags])
        assert code == 0

    def report(self, *more, inputs=("images", "labels", "measurements", "scores", "truth")):
        flags = [x for i in inputs for x in (f"--{i}", str(self.path(i)))]
        flags += ["--measure-record", str(self.path("measured"))]
        flags += ["--metrics-record", str(self.path("scored"))]
        flags += ["--reports", str(self.path("reports")), "--html", str(self.path("page.html"))]
        flags += ["--record", str(self.path("record"))]
        return main(["report", *flags, *more])


def test_one_image_gets_a_page_and_an_overlay(tmp_path):
    run = Run(tmp_path)
    assert run.report() == 0
    batch = Batch.open(tmp_path / "reports")
    (entry,) = batch.entries
    page = batch.file(entry, "html").read_text(encoding="utf-8")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page
    assert "cellmill-nuclei 0.1.0" in page
    assert "0.5 µm/px (OME-XML)" in page
    assert "F1 at IoU 0.5" in page
    assert 'id="show-truth-nuclear"' in page
    assert "measure" in page
    with Image.open(batch.file(entry, "png")) as shown:
        expected = overlay(run.image, run.labels, channels=[0])
        assert np.array_equal(np.asarray(shown), expected)


def test_attributes_hold_what_a_summary_needs(tmp_path):
    run = Run(tmp_path)
    assert run.report() == 0
    batch = Batch.open(tmp_path / "reports")
    summary = batch.entries[0].attributes["summary"]
    scores = json.loads((tmp_path / "scores" / "a.json").read_text())["nuclear"]
    assert summary["compartments"]["nuclear"]["scores"] == scores
    assert summary["compartments"]["nuclear"]["count"] == run.labels["nuclear"].max()
    assert summary["seconds"] > 0
    assert [stage["stage"] for stage in batch.attributes["stages"]] == ["measure", "metrics"]


def test_its_record_has_times_by_image_and_step(tmp_path):
    run = Run(tmp_path)
    assert run.report() == 0
    document = json.loads((tmp_path / "record").read_text())
    steps = [step["name"] for step in document["images"][0]["steps"]]
    assert steps == ["read", "assess", "draw overlay", "write page", "summarise"]


def test_many_images_get_an_index_with_those_left_out(tmp_path):
    run = Run(tmp_path, names=("a", "b 'c'", "broken"), skipped=("broken",))
    assert run.report() == 0
    batch = Batch.open(tmp_path / "reports")
    assert [e.status for e in batch.entries] == ["ok", "ok", "skipped"]
    assert "found none" in batch.entry("broken").error
    assert set(batch.entry("a").files) == {"html", "png"}
    index = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Batch of 3 images" in index
    assert "expected a page, found none" in index
    assert "href=" not in index


def test_without_truth_or_without_the_stage_that_scores(tmp_path):
    run = Run(tmp_path, truth=False)
    assert run.report() == 0
    assert "Accuracy against" not in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert run.report(inputs=("images", "labels", "measurements")) == 0
    assert "Accuracy against" not in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_both_compartments_are_shown(tmp_path):
    run = Run(tmp_path, compartments=("whole_cell", "nuclear"))
    assert run.report() == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    for key in ("whole_cell", "nuclear", "truth-whole_cell", "truth-nuclear"):
        assert f'id="show-{key}"' in page
    fields = re.search(r'id="viewer-data">(.*?)</script>', page, re.DOTALL)
    layers = {layer["key"]: layer for layer in json.loads(fields[1])["layers"]}
    assert "Cell label" in [f["title"] for f in layers["nuclear"]["fields"]]
    assert "Nucleus count" in [f["title"] for f in layers["whole_cell"]["fields"]]


def test_a_large_image_is_reduced_to_the_bound(tmp_path):
    run = Run(tmp_path)
    assert run.report("--max-side", "40") == 0
    with Image.open(tmp_path / "reports" / "a.png") as shown:
        assert shown.size == (37, 30)


def test_what_stages_noticed_is_shown(tmp_path):
    run = Run(tmp_path)
    record = json.loads((tmp_path / "measured").read_text())
    record["stage"], record["notes"] = "tiff_to_npz", {"remarks": {"a": ["grey stored as colour"]}}
    (tmp_path / "converted").write_text(json.dumps(record))
    assert run.report("--conversion-record", str(tmp_path / "converted")) == 0
    assert "Grey stored as colour." in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_an_image_that_could_not_be_scored_is_shown_and_says_why(tmp_path):
    run = Run(tmp_path, names=("a", "b"))
    batch = Batch.open(tmp_path / "scores")
    kept = batch.file(batch.entry("a"), "json").read_bytes()
    with BatchWriter(tmp_path / "scores") as out:
        with out.open("a", "json") as file:
            file.write(kept)
        out.skip(Entry("b"), "truth 'b.tif': expected another shape")
    assert run.report() == 0
    page = (tmp_path / "reports" / "b.html").read_text(encoding="utf-8")
    assert "Not scored: truth &#39;b.tif&#39;: expected another shape." in page


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda run: (run.path("measurements") / "a.parquet").write_bytes(b"no"), "Parquet"),
        (lambda run: (run.path("scores") / "a.json").write_text("{"), "scores '.*expected JSON"),
        (lambda run: (run.path("scores") / "a.json").write_text("[]"), "expected a JSON object"),
        (
            lambda run: (run.path("scores") / "a.json").write_text('{"nuclear": {"f1": 1}}'),
            "expected cellmill-metrics/1",
        ),
        (lambda run: run.path("measured").write_text("{}"), "record '.*a stage's record"),
        (lambda run: (run.path("labels") / "a.npz").write_bytes(b"PK"), "a.npz"),
    ],
)
def test_a_damaged_input_gets_its_line(tmp_path, capsys, spoil, says):
    run = Run(tmp_path)
    spoil(run)
    capsys.readouterr()
    assert run.report() == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("cellmill")]
    assert len(lines) == 1
    assert re.search(says, lines[0])
    assert not (tmp_path / "reports").exists()


def test_a_bad_image_can_be_skipped(tmp_path):
    run = Run(tmp_path, names=("a", "b"))
    (tmp_path / "measurements" / "b.parquet").write_bytes(b"no")
    assert run.report() == 2
    assert run.report("--on-bad-image", "skip") == 0
    assert [e.status for e in Batch.open(tmp_path / "reports").entries] == ["ok", "skipped"]
    assert "Parquet" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_labels_of_another_shape_are_refused(tmp_path, capsys):
    run = Run(tmp_path)
    with BatchWriter(tmp_path / "labels") as out:
        out.write("a", {"nuclear": cells((20, 30))}, axes={"nuclear": "YX"})
    assert run.report() == 2
    assert "expected shape (90, 110), found (20, 30)" in capsys.readouterr().err


def test_a_single_file_of_each_batch_will_do(tmp_path):
    run = Run(tmp_path)
    flags = ["--images", "images/a.npz", "--labels", "labels/a.npz"]
    flags += ["--measurements", "measurements/a.parquet"]
    given = [str(tmp_path / f) if "/" in f else f for f in flags]
    out = ["--reports", str(tmp_path / "r"), "--html", str(tmp_path / "p.html")]
    assert main(["report", *given, *out]) == 0
    assert io.BytesIO((tmp_path / "r" / "a.png").read_bytes()).read(4) == b"\x89PNG"
    del run


def test_the_interface_is_a_stages():
    spec = StageSpec.load("report")
    optional = {i.name for i in spec.inputs if i.optional}
    assert {i.name for i in spec.inputs} - optional == {"images", "labels", "measurements"}
    assert [o.name for o in spec.outputs] == ["reports", "html", "record"]
