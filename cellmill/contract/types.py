"""Artifact types, and the marks that make a parameter of a stage an input or an output.

A type says two things. `schema_title` is what platforms know it by; it is one of KFP's own titles.
`kind` is what cellmill knows it by: label images and microscopy images are both datasets to a
platform, and a pipeline that takes one for the other is wrong. The kind is no schema title, since
titles of our own go nowhere: kfp refuses every namespace but `system` and `google`
(`validate_schema_title`), Vertex AI expects a title to be registered in the project's metadata
store before it is used, a Kubeflow backend knows a fixed list of `system.` titles, and a component
that takes a made-up title can no longer be fed by a stranger's plain `Dataset`. So the kind travels
where every platform leaves it alone: at the head of the artifact's description in a compiled
component, `[cellmill.Labels] …`, where `launch.compiling.lint_kinds` reads it, and in the
artifact's metadata while a pipeline runs, where the runtime compares it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from cellmill.contract.recording import Recorder

Scalar = str | int | float | bool


@dataclass
class Artifact:
    """Something a stage reads or writes.

    Attributes:
        schema_title: what platforms know its type by.
        kind: what cellmill knows its type by; empty for anything.
        path: the file or folder.
        uri: its name outside this machine; the path itself where there is none.
        metadata: flat scalars that travel with it, at most 500 bytes as JSON.
    """

    schema_title: ClassVar[str] = "system.Artifact"
    kind: ClassVar[str] = ""

    path: Path
    uri: str = ""
    metadata: dict[str, Scalar] = field(default_factory=dict)


class Dataset(Artifact):
    """A batch of any kind: a folder with one entry per image and a manifest."""

    schema_title = "system.Dataset"


class Images(Dataset):
    """A batch of microscopy images: array `image`, the original pixels."""

    kind = "cellmill.Images"


class PointSpread(Dataset):
    """A batch of point spread functions: array `psf`, how a microscope images a point."""

    kind = "cellmill.PointSpread"


class Preprocessed(Dataset):
    """A batch of images at the scale and with the values that a network expects."""

    kind = "cellmill.Preprocessed"


class Predictions(Dataset):
    """A batch of what a network said: one array per head."""

    kind = "cellmill.Predictions"


class Labels(Dataset):
    """A batch of label images that a stage made: one array per kind of object."""

    kind = "cellmill.Labels"


class GroundTruth(Dataset):
    """A batch of label images that came with the images: array `labels`, or none."""

    kind = "cellmill.GroundTruth"


class LabelFiles(Dataset):
    """A batch of label images as files for other programs."""

    kind = "cellmill.LabelFiles"


class ImageFiles(Dataset):
    """A batch of images as files for other programs."""

    kind = "cellmill.ImageFiles"


class Annotations(Dataset):
    """A batch of objects as polygons with their measurements, as files for other programs."""

    kind = "cellmill.Annotations"


class Exports(Dataset):
    """A batch of images with what was found in them, in the forms of other programs."""

    kind = "cellmill.Exports"


class Measurements(Dataset):
    """A batch of tables, one row an object."""

    kind = "cellmill.Measurements"


class Scores(Dataset):
    """A batch of scores against ground truth, a JSON file an image."""

    kind = "cellmill.Scores"


class Reports(Dataset):
    """A batch of pages and overlays, with what a summary needs of them."""

    kind = "cellmill.Reports"


class PlannedSlides(Dataset):
    """Slides cut into shards, with the arrays that the shards' predictions fill."""

    kind = "cellmill.PlannedSlides"


class PredictedShard(Dataset):
    """Word that one shard of a slide plan is predicted."""

    kind = "cellmill.PredictedShard"


class EMVolumes(Artifact):
    """A folder of volumes of electron microscopy, `(Z, Y, X)` uint8."""

    kind = "cellmill.EMVolumes"


class TransferredVolume(Artifact):
    """A folder that says where a volume lies that a style-transfer network made, or holds it."""

    kind = "cellmill.TransferredVolume"


class PlannedSegmentation(Dataset):
    """Predicted slides, and how each shard of them is segmented."""

    kind = "cellmill.PlannedSegmentation"


class SegmentedShard(Dataset):
    """Word that one shard of a planned segmentation is done."""

    kind = "cellmill.SegmentedShard"


class PlannedDeconvolution(Dataset):
    """Images that many tasks deconvolve: functions, levels, and where the tasks' blocks lie."""

    kind = "cellmill.PlannedDeconvolution"


class DeconvolvedShard(Dataset):
    """Word that one task of a planned deconvolution is done."""

    kind = "cellmill.DeconvolvedShard"


class Table(Dataset):
    """A table of a whole run, as CSV."""

    kind = "cellmill.Table"


class Model(Artifact):
    """A model: a folder with a network and its card, `model.json`."""

    schema_title = "system.Model"
    kind = "cellmill.Model"


class Weights(Artifact):
    """A network's weights, as its own framework writes them."""

    kind = "cellmill.Weights"


class Metrics(Artifact):
    """Numbers to show beside a run: its `metadata`."""

    schema_title = "system.Metrics"


class HTML(Artifact):
    """A self-contained page."""

    schema_title = "system.HTML"


class Markdown(Artifact):
    """A Markdown text."""

    schema_title = "system.Markdown"


class Record(Artifact, Recorder):
    """What a stage did: a JSON file that the runtime writes when the stage has ended well."""

    kind = "cellmill.Record"

    def __init__(self, path: Path, uri: str = "", metadata: dict[str, Any] | None = None) -> None:
        Artifact.__init__(self, path, uri, metadata or {})
        Recorder.__init__(self)


class RecordOfTasks(Artifact):
    """The records of one stage's parallel tasks as one, which a later stage writes."""

    kind = Record.kind


class TaskFinalStatus(dict[str, Any]):
    """How the tasks of a run ended, as KFP tells it to the one that comes after them all.

    It has `state` (`SUCCEEDED`, `FAILED`, …) and, of a failure, `error` with a `message`.
    """


T = TypeVar("T")
Input = Annotated[T, "input"]
Output = Annotated[T, "output"]
