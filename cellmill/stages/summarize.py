"""The stage that puts the reports of all batches together."""

from __future__ import annotations

from typing import Any

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.files import write_text
from cellmill.contract import HTML, Input, Metrics, Output, Record, Reports, Table, stage
from cellmill.errors import BadInput
from cellmill.reporting.accuracy import at_half
from cellmill.reporting.image_summary import ImageSummary
from cellmill.reporting.summary import Summary, render_summary, summary_csv, summary_json


@stage(image="imaging", family="reporting")
def summarize(
    reports: Input[list[Reports]],
    summary: Output[HTML],
    table: Output[Table],
    numbers: Output[Metrics],
    record: Output[Record],
    title: str = "Summary",
) -> None:
    """Put the reports of all batches together: a page, a table, and the numbers as JSON.

    Only manifests are read, so that thousands of images take seconds.

    Args:
        reports: Batches as `report` writes them.
        summary: The page: every image with its figures and a link to `<name>/report.html` beside
            it, images left out and why, accuracy pooled over all, time by stage.
        table: CSV, a row an image.
        numbers: JSON: images, pooled and mean accuracy, stages; its metadata are the totals.
        record: What was done, with times and versions.
        title: Heading of the page.
    """
    images: list[ImageSummary] = []
    stages: list[dict[str, Any]] = []
    with record.step("read manifests"):
        for artifact in reports:
            batch = Batch.open(artifact.path)
            images += [_image(batch, entry) for entry in batch.entries]
            stages += batch.attributes.get("stages", ())
    if not images:
        raise BadInput("reports", expected="at least one image", found="none")
    whole = Summary(images, stages)
    with record.step("write"):
        write_text(summary.path, render_summary(whole, title))
        write_text(table.path, summary_csv(whole))
        write_text(numbers.path, summary_json(whole))
    numbers.metadata.update(_headline(whole))


def _image(batch: Batch, entry: Entry) -> ImageSummary:
    if not entry.ok:
        return ImageSummary(entry.name, error=entry.error or "left out")
    try:
        return ImageSummary.from_attributes(entry.name, entry.attributes["summary"])
    except (AttributeError, KeyError, TypeError) as error:
        raise BadInput(
            f"'{entry.name}' in '{batch.folder}'",
            expected="a summary, as the stage report keeps it",
            found=f"{type(error).__name__}: {error}",
        ) from error


def _headline(summary: Summary) -> dict[str, str | int | float | bool]:
    """Return totals that fit an artifact's metadata."""
    found: dict[str, str | int | float | bool] = {
        "images": len(summary.images),
        "left_out": sum(bool(image.error) for image in summary.images),
    }
    if summary.cost.usd is not None:
        found["usd"] = round(summary.cost.usd, 4)
    pools = summary.pooled
    for compartment in summary.compartments:
        counts = [
            i.compartments[compartment].count
            for i in summary.images
            if compartment in i.compartments
        ]
        found[f"{compartment}_count"] = sum(counts)
        if compartment in pools:
            half = at_half(pools[compartment]["pooled"])
            found[f"{compartment}_f1_50"] = round(half["f1"], 4)
            found[f"{compartment}_ap_50"] = round(half["average_precision"], 4)
    return found
