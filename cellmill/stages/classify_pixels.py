"""The stage that says of every pixel how likely it is of each class."""

from __future__ import annotations

from typing import Literal

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.rows import check_memory
from cellmill.contract import (
    Input,
    LabelFiles,
    Model,
    Output,
    Predictions,
    Preprocessed,
    Record,
    for_each_image,
    stage,
)
from cellmill.inference.network import NETWORK
from cellmill.inference.predictor import Predictor
from cellmill.io.tiff.write import write_label_images
from cellmill.models.card import ModelCard
from cellmill.models.chosen import check_made_for
from cellmill.pixel_classification.card import HEAD
from cellmill.pixel_classification.classifier import ClassImage, PixelClassifier
from cellmill.stages.shared.heads import check_image, fill_heads, head_arrays
from cellmill.stages.shared.notes import note_predictor


@stage(image="imaging", family="segmentation")
def classify_pixels(
    preprocessed: Input[Preprocessed],
    model: Input[Model],
    predictions: Output[Predictions],
    classes: Output[LabelFiles],
    record: Output[Record],
    on_bad_image: Literal["fail", "skip"] = "fail",
    device: Literal["auto", "cpu", "gpu"] = "auto",
    threads: int = 0,
    memory_mib: int = 1024,
) -> None:
    """Classify every pixel of preprocessed images, tile by tile.

    Probabilities are those of the whole image to the bit, whatever its size; `postprocess` makes
    objects of them, as of any network's heads. `predict` gives the same probabilities.

    Args:
        preprocessed: Batch with array `image` (Y, X, C) float32, made for this model; of a volume
            with Z before. A classifier of images classifies its planes one by one.
        model: Model folder of a pixel classifier, pixel_classifier.npz and model.json.
        predictions: Batch with array `classes` (Y, X, K) float32, the probability of each class,
            with Z before of a volume; in a Zarr where the image was in one.
        classes: Batch with a file `<name>.tif` per image, the value of each pixel's likeliest
            class, as scribbles have it.
        record: What was done, with times and versions.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.
        device: Where features and forest are computed: gpu, by torch where it is installed; auto
            takes a GPU if there is one. On a GPU features are those of processors but for rounding.
        threads: CPU threads; 0 takes all.
        memory_mib: Memory to work in, in MiB; results do not depend on it.
    """
    check_memory(memory_mib)
    card = ModelCard.load(model.path)
    source = Batch.open(preprocessed.path)
    check_made_for(card, source.attributes, f"batch '{source.folder}'")
    with record.step("load model"):
        classifier = PixelClassifier.load(model.path)
        predictor = Predictor(
            model.path, card, card.heads, engine="forest", device=device, threads=threads
        )
    attributes = {"model": card.to_dict()}
    with (
        BatchWriter(predictions.path, attributes=attributes) as out,
        BatchWriter(classes.path, attributes=attributes) as shown,
    ):

        def work(entry: Entry) -> None:
            image = source.array(entry, "image")
            check_image(image, entry, card, card.heads)
            with head_arrays(out, entry, card, card.heads) as (outputs, _):
                with record.side_by_side(NETWORK) as parts:
                    fill_heads(predictor, card, image, entry, outputs, memory_mib, parts)
                with record.step("write classes"), shown.open(entry.name, "tif") as file:
                    write_label_images(
                        file,
                        [ClassImage(outputs[0], classifier.classes)],
                        [HEAD],
                        image_name=entry.name,
                        mpp=entry.mpp,
                        dtype="int32",
                        memory_mib=memory_mib,
                    )
            shown.annotate(entry.name, **entry.attributes)

        for_each_image(source, work, writers=[out, shown], record=record, on_bad_image=on_bad_image)
    record.note(classes=[each.name for each in classifier.classes])
    note_predictor(predictor, record, tiles_repeated=0)
