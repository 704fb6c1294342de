"""The stage contract: how a stage says what it takes and gives, and how it is run.

A stage is one function in `cellmill/stages/<name>.py` of that name. Its signature declares input
artifacts, output artifacts and parameters; `python -m cellmill <name> --executor-input JSON` runs
it in a KFP container, `cellmill <name> --flag …` by hand.
"""

from cellmill.contract.declaration import stage
from cellmill.contract.each import for_each_image
from cellmill.contract.progress import Progress
from cellmill.contract.types import (
    HTML,
    Annotations,
    Artifact,
    Dataset,
    GroundTruth,
    ImageFiles,
    Images,
    Input,
    LabelFiles,
    Labels,
    Markdown,
    Measurements,
    Metrics,
    Model,
    Output,
    PlannedSegmentation,
    PlannedSlides,
    PointSpread,
    PredictedShard,
    Predictions,
    Preprocessed,
    Record,
    RecordOfTasks,
    Reports,
    Scores,
    SegmentedShard,
    Table,
    TaskFinalStatus,
    TransferredVolume,
)

__all__ = [
    "HTML",
    "Annotations",
    "Artifact",
    "Dataset",
    "GroundTruth",
    "ImageFiles",
    "Images",
    "Input",
    "LabelFiles",
    "Labels",
    "Markdown",
    "Measurements",
    "Metrics",
    "Model",
    "Output",
    "PlannedSegmentation",
    "PlannedSlides",
    "PointSpread",
    "PredictedShard",
    "Predictions",
    "Preprocessed",
    "Progress",
    "Record",
    "RecordOfTasks",
    "Reports",
    "Scores",
    "SegmentedShard",
    "Table",
    "TaskFinalStatus",
    "TransferredVolume",
    "for_each_image",
    "stage",
]
