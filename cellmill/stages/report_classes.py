"""The stage that shows the classes of pixels: class images, scores against truth, and pages."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.channels import selected_channels
from cellmill.arrays.files import write_text
from cellmill.arrays.rows import check_memory
from cellmill.arrays.windows import Windowed, sections_of
from cellmill.contract import (
    GroundTruth,
    Images,
    Input,
    LabelFiles,
    Metrics,
    Output,
    Predictions,
    Record,
    Reports,
    Scores,
    for_each_image,
    stage,
)
from cellmill.errors import BadInput
from cellmill.io.tiff.write import write_label_images
from cellmill.metrics import evaluate_classes, pool_classes
from cellmill.metrics.boundary import check_tolerance
from cellmill.models.card import ModelCard
from cellmill.pixel_classification.card import BACKGROUND, HEAD, classes_of
from cellmill.pixel_classification.classifier import ClassImage, PixelClass
from cellmill.reporting.classes import ClassesSubject, ShownClass, render_classes
from cellmill.reporting.display import shown_channels
from cellmill.reporting.pictures import encode_png

#: Rows that are looked at together when pixels are counted.
_ROWS = 1024


@stage(image="imaging", family="reporting")
def report_classes(
    images: Input[Images],
    predictions: Input[Predictions],
    classes: Output[LabelFiles],
    pages: Output[Reports],
    scores: Output[Scores],
    metrics: Output[Metrics],
    record: Output[Record],
    truth: Input[GroundTruth] | None = None,
    boundary_tolerance_px: float = 2.0,
    max_side: int = 2048,
    memory_mib: int = 1024,
    on_bad_image: Literal["fail", "skip"] = "fail",
) -> None:
    """Show the classes of pixels: an image of them, scores where there is truth, and a page.

    Dice, IoU, precision, recall and boundary F of each class, and the confusion matrix, for each
    image and over all pixels of all images.

    Args:
        images: Batch of images, array `image` (Y, X, C), or of volumes (Z, Y, X, C); the original
            pixels.
        predictions: Batch with array `classes` (Y, X, K) or (Z, Y, X, K) float32, the probability
            of each class, of a model whose card names the classes.
        classes: Batch with a file `<name>.tif` per image, the value of each pixel's likeliest
            class, as the labels that taught it have it.
        pages: Batch with files `<name>.html`, the page, and `<name>.png`, the classes over the
            image, per image; of a volume its middle plane and two cuts.
        scores: Batch with a file `<name>.json` per image: its name, whether there is truth, and
            what `cellmill.metrics.evaluate_classes` says.
        metrics: Scores over all images with truth, as JSON.
        record: What was done, with times and versions.
        truth: Batch with array `labels` (Y, X) or (Z, Y, X), the value of each pixel's class, 0 is
            not labelled unless a class has it; entries without arrays have none.
        boundary_tolerance_px: How far apart boundaries may lie for the boundary F, in pixels; in
            volumes it is that of surfaces, and planes count as far apart as they are.
        max_side: Longest side of the pages' pictures in px; larger images are shown reduced.
        memory_mib: Memory to work in, in MiB. Results do not depend on it.
        on_bad_image: What to do with an image that cannot be shown: fail, or skip it and go on.
    """
    check_tolerance(boundary_tolerance_px)
    check_memory(memory_mib)
    if max_side < 16:
        raise BadInput("parameter max_side", expected="16 px or more", found=f"{max_side}")
    source = Batch.open(predictions.path)
    card = ModelCard.from_dict(source.attributes.get("model"), f"batch '{source.folder}'")
    given = _Given(
        Batch.open(images.path),
        source,
        Batch.open(truth.path) if truth else None,
        card,
        classes_of(card),
    )
    results: list[dict[str, Any]] = []
    with (
        BatchWriter(classes.path, attributes=source.attributes) as shown,
        BatchWriter(pages.path) as written,
        BatchWriter(scores.path) as scored,
    ):

        def work(entry: Entry) -> None:
            subject = given.subject(entry)
            with record.step("write classes"), shown.open(entry.name, "tif") as file:
                write_label_images(
                    file,
                    [subject.found],
                    [HEAD],
                    image_name=entry.name,
                    mpp=entry.mpp,
                    dtype="int32",
                    memory_mib=memory_mib,
                )
            with record.step("score"):
                found = given.score(entry, subject, boundary_tolerance_px, memory_mib)
            with record.step("write page"):
                page, picture = render_classes(replace(subject, scores=found), max_side)
            with written.open(entry.name, "html") as file:
                file.write(page.encode("utf-8", "replace"))
            with written.open(entry.name, "png") as file:
                file.write(encode_png(picture))
            document = {"image": entry.name, "truth": found is not None, **(found or {})}
            with scored.open(entry.name, "json") as file:
                file.write((json.dumps(document, indent=1) + "\n").encode())
            results.extend([found] if found else [])

        for_each_image(
            source,
            work,
            writers=[shown, written, scored],
            record=record,
            on_bad_image=on_bad_image,
        )
    pooled = pool_classes(results) if results else {"note": "no truth"}
    write_text(metrics.path, json.dumps(pooled, indent=1) + "\n")
    keys = ("images", "accuracy", "mean_dice", "mean_iou", "note")
    metrics.metadata.update({key: pooled[key] for key in keys if key in pooled})
    record.note(classes=[each.name for each in given.classes])


@dataclass(frozen=True)
class _Given:
    """What is shown.

    Attributes:
        images: the original pixels.
        predictions: the probabilities.
        truth: the classes as they are, where they are known.
        card: of the model.
        classes: in the order of probabilities.
    """

    images: Batch
    predictions: Batch
    truth: Batch | None
    card: ModelCard
    classes: tuple[PixelClass, ...]

    def subject(self, entry: Entry) -> ClassesSubject:
        """An image with its classes, without scores.

        Raises:
            BadInput: the image is missing or of another shape than its probabilities.
        """
        mine = self.images.counterpart(entry, self.predictions)
        if mine is None:
            raise BadInput(f"image '{entry.name}'", expected="in the batch of images", found="none")
        image = self.images.array(mine, "image")
        found = ClassImage(self.predictions.array(entry, HEAD), self.classes)
        if tuple(image.shape[:-1]) != found.shape:
            raise BadInput(
                f"classes of '{entry.name}'",
                expected=f"probabilities at the image's own scale, {tuple(image.shape[:-1])}",
                found=f"{found.shape}",
            )
        chosen = selected_channels(sections_of(image, 3)[0], mine).channels
        counts = np.zeros(len(self.classes), np.int64)
        for plane in sections_of(found):
            for top in range(0, found.shape[-2], _ROWS):
                values = np.asarray(plane[top : top + _ROWS])
                counts += [np.count_nonzero(values == each.value) for each in self.classes]
        return ClassesSubject(
            name=entry.name,
            image=image,
            channels=shown_channels(chosen, image.shape[-1]),
            found=found,
            classes=[
                ShownClass(each.value, each.name, each.colour, each.name != BACKGROUND)
                for each in self.classes
            ],
            counts=counts.tolist(),
            model=f"{self.card.name} {self.card.version}",
            truth=self._truth(entry),
            mpp=mine.mpp,
        )

    def _truth(self, entry: Entry) -> Windowed | None:
        if self.truth is None:
            return None
        mine = self.truth.counterpart(entry, self.predictions)
        return self.truth.array(mine, "labels") if mine is not None and mine.arrays else None

    def score(
        self, entry: Entry, subject: ClassesSubject, tolerance: float, memory_mib: int
    ) -> dict[str, Any] | None:
        """Scores of an image; none without truth.

        Raises:
            BadInput: the truth is of another shape, or has values of no class.
        """
        if subject.truth is None:
            return None
        try:
            return evaluate_classes(
                subject.truth,
                subject.found,
                {each.name: each.value for each in self.classes},
                boundary_tolerance_px=tolerance,
                spacing=subject.mpp,
                memory_mib=memory_mib,
            )
        except BadInput as bad:
            raise bad.about(f"image '{entry.name}', {bad.what}") from None
