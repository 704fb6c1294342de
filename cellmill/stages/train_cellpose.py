"""The stage that teaches a network of Cellpose 3, by Cellpose's own training."""

from __future__ import annotations

import contextlib
import importlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from cellmill.arrays.batch import Batch
from cellmill.arrays.files import write_text
from cellmill.compute.faults import writing
from cellmill.contract import (
    GroundTruth,
    Images,
    Input,
    Metrics,
    Model,
    Output,
    Progress,
    Record,
    Weights,
    for_each_image,
    stage,
)
from cellmill.errors import BadInput
from cellmill.io import uris
from cellmill.labels.kinds import Compartment, typed_kinds
from cellmill.models.importing.cellpose3 import CHANNELS, FRAMEWORK, open_network, with_channels
from cellmill.models.importing.cellpose_network import PREPROCESSING, CellposeNetwork
from cellmill.models.importing.frameworks import check_installed, framework_of, version_of
from cellmill.models.importing.interface import Said
from cellmill.stages.shared.importing import framework_files, portable_network, tell_of
from cellmill.stages.shared.instance_training import instance_headline
from cellmill.stages.shared.training_images import TrainingBatch, count_objects, split_images
from cellmill.training.accuracy import measure_accuracy
from cellmill.training.cellpose import (
    CellposeParameters,
    network_shape,
    segment_at_scale,
    train_network,
    write_new_weights,
)
from cellmill.training.images import TrainingImage
from cellmill.training.object_sizes import trained_sizes
from cellmill.version import __version__

#: The learning rates, if nobody says.
_FROM_NOTHING, _FROM_A_BASE = 0.005, 0.0005


@dataclass(frozen=True)
class _Taught:
    """What networks are opened and measured by.

    Attributes:
        kind: of object.
        channels: how many each image has.
        said: for the card.
        sizes: of the training's objects.
        held_out: images to measure on.
    """

    kind: Compartment
    channels: int
    said: Said
    sizes: dict[str, Any]
    held_out: Sequence[TrainingImage]

    @property
    def diameter(self) -> float:
        """Of the training's objects, in pixels."""
        return float(self.sizes["object_diameter"][self.kind])

    def opened(self, weights: Path) -> CellposeNetwork:
        """A network whose card says what it is taught."""
        found = with_channels(open_network(weights, self.said), self.channels)
        sized = replace(found.card.input, object_diameter_um=self.sizes["object_diameter_um"])
        return replace(found, card=replace(found.card, input=sized))

    def accuracy(self, weights: Path) -> dict[str, Any]:
        """What a network reaches on the images held out, each at its scale."""
        network = self.opened(weights)
        return measure_accuracy(
            self.held_out,
            network.predict,
            network.card,
            self.kind,
            segment_at_scale(self.diameter),
        )


@dataclass(frozen=True)
class _Look:
    """Weights after some steps, and what they reach on the images held out."""

    step: int
    loss: float | None
    weights: Path
    accuracy: dict[str, Any]

    @property
    def reached(self) -> float:
        """What decides: the mean average precision over IoU 0.5 to 0.95."""
        return float(self.accuracy["average_precision_mean"])

    def said(self) -> dict[str, Any]:
        """For the card."""
        return {"step": self.step, "loss": self.loss, "average_precision_mean": self.reached}


@stage(image="cellpose3", family="training")
def train_cellpose(
    images: Input[Images],
    labels: Input[GroundTruth],
    model: Output[Model],
    weights: Output[Weights],
    metrics: Output[Metrics],
    record: Output[Record],
    base: str = "",
    base_digest: str = "",
    on_bad_image: Literal["fail", "skip"] = "fail",
    name: str = "my-model",
    version: str = "1",
    description: str = "",
    licence: str = "",
    compartment: str = "nuclear",
    validation: str = "",
    validation_fraction: float = 0.15,
    steps: int = 300,
    batch_size: int = 8,
    learning_rate: float = 0.0,
    validate_every: int = 100,
    seed: int = 0,
) -> None:
    """Train a network of Cellpose 3 on images and label images, and measure it on images held out.

    Cellpose's own training does it, from given weights or from nothing. The network that comes of
    it is exported and compared with the original, as import_cellpose_model does; of the weights
    that are kept every `validate_every` steps those count that reach most on the images held out,
    and the base's own if none reach more.

    Args:
        images: Batch with array `image` (Y, X, C), one channel to segment or two, the second of
            nuclei.
        labels: Batch with array `labels` (Y, X) int32, an entry of the same name for each image;
            images without truth are left out.
        model: The model's folder, an ONNX network and model.json.
        weights: The same network as Cellpose's own file of weights, for its programs and to go on
            from.
        metrics: Accuracy on the validation images (of the base too, if given) and the
            training's curve, JSON.
        record: What was done, with times and versions.
        base: Weights to go on from (fine-tuning): the name of a network that Cellpose publishes,
            as cellpose:cyto3, or path or URI of a file of weights. Empty trains from nothing.
        base_digest: What the file must be, sha256:…; empty checks nothing.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.
        name: The model's name.
        version: The model's version.
        description: What the card says of the model.
        licence: What the card says of the weights' licence.
        compartment: What the label images show: nuclear, whole-cell or another kind of object.
        validation: Images to hold out for validation: names or patterns with `*`, with commas
            between. Empty: as many as `validation_fraction` says, drawn by the seed.
        validation_fraction: Part of the images to hold out, at least one image.
        steps: Batches to train on.
        batch_size: Crops of 224 px in a batch.
        learning_rate: Of AdamW. 0 is 0.005, Cellpose's own, or from a base 0.0005: what it has
            learnt is to be kept.
        validate_every: Steps between two looks at the validation images.
        seed: Of what is drawn for validation, of the order of images and of a new network.
    """
    check_installed(FRAMEWORK)
    if not 0 < validation_fraction < 1:
        raise BadInput("validation_fraction", expected="0 to 1", found=f"{validation_fraction}")
    rate = learning_rate or (_FROM_A_BASE if base.strip() else _FROM_NOTHING)
    parameters = CellposeParameters(steps, batch_size, rate, min(validate_every, steps), seed)
    kinds = typed_kinds(compartment, offered=None)
    if len(kinds) != 1:
        raise BadInput("compartment", expected="one kind of object", found=repr(compartment))
    batch = TrainingBatch(
        Batch.open(images.path), Batch.open(labels.path), None, kinds, PREPROCESSING
    )
    for_each_image(batch.images, batch.read, writers=[], record=record, on_bad_image=on_bad_image)
    training, held_out = split_images(batch.found, validation, validation_fraction, seed)
    text = description or "A Cellpose network, trained on images of one's own."
    said = Said(name, version, kinds[0], licence=licence, description=text)
    taught = _Taught(kinds[0], _channels(batch), said, _sizes(training, kinds[0]), held_out)
    began = base.strip()
    with _start(began, base_digest, taught.diameter, seed) as start, _folder() as folder:
        network = taught.opened(start).net
        with record.step("fit"), Progress("training", steps, "steps") as progress:
            kept = train_network(network, training, parameters, folder, progress.advance)
        with record.step("measure accuracy"):
            looks = [_Look(0, None, start, taught.accuracy(start))] if began else []
            looks += [_Look(k.step, k.loss, k.path, taught.accuracy(k.path)) for k in kept]
        best = max(looks, key=lambda look: (look.reached, look.step))
        accuracy = {"validation": best.accuracy}
        accuracy |= {"validation_before": looks[0].accuracy} if began else {}
        curve = {"curve": [look.said() for look in looks], "best_step": best.step}
        facts = {
            **_made_with(),
            "images": [image.name for image in training],
            "validation": [image.name for image in held_out],
            "objects": sum(count_objects(image.labels) for image in training),
            "object_diameter_px": taught.diameter,
            "base": start.name if began else "",
            "base_source": began,
            "base_file": uris.digest(str(start)) if began else "",
            "network": network_shape(network),
            "parameters": asdict(parameters),
            **curve,
        }
        found, digest = taught.opened(best.weights), uris.digest(str(best.weights))
        card = portable_network(found, FRAMEWORK, model.path, record, name, digest)
        with writing(weights.path):
            shutil.copyfile(best.weights, weights.path)
    write_text(metrics.path, json.dumps({**accuracy, **curve}, indent=1) + "\n")
    replace(card, training=facts, accuracy=accuracy).save(model.path)
    tell_of(card, model, record)
    model.metadata.update(default_compartment=card.default_compartment)
    metrics.metadata.update(instance_headline(accuracy))
    record.note(accuracy=accuracy, best_step=best.step)


@contextlib.contextmanager
def _start(base: str, digest: str, diameter: float, seed: int) -> Iterator[Path]:
    """Cellpose's file of weights that a training begins with: the base's, or new ones."""
    if base:
        with framework_files(base, digest) as files:
            framework_of(files, FRAMEWORK.name)
            yield files
        return
    with _folder() as folder:
        write_new_weights(folder / "new", diameter, seed)
        yield folder / "new"


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cellmill-training-") as folder:
        yield Path(folder)


def _channels(batch: TrainingBatch) -> int:
    """How many channels the images have: what is segmented, and perhaps nuclei."""
    count = len(batch.channels[0]) if batch.channels else 1
    if count > CHANNELS:
        raise BadInput(
            "channels",
            expected="one to segment, or two, the second of nuclei (CHANNELS=…)",
            found=f"{count}",
        )
    return count


def _sizes(training: Sequence[TrainingImage], kind: Compartment) -> dict[str, Any]:
    """The sizes of the training's objects, of which there must be some."""
    sizes = trained_sizes(training, (kind,))
    if kind not in sizes["object_diameter"]:
        raise BadInput("training images", expected="at least one with objects", found="none")
    return sizes


def _made_with() -> dict[str, Any]:
    """What a card says of the code that trained the model, and how far a training repeats."""
    torch = importlib.import_module("torch")
    return {
        "code": f"cellmill {__version__}",
        "frameworks": f"cellpose {version_of(FRAMEWORK)}, torch {torch.__version__}",
        "repeats": "to the bit with the same seed, code, frameworks, processor and number of "
        "threads",
        "scale": "images are brought to input.object_diameter by the median object of each "
        "(cellpose.train.train_seg, rescale); held-out images by pixel size where known, else by "
        "object_diameter_px, as DIAMETER does it",
    }
