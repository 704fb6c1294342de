"""The stage contract: how a stage says what it takes and gives, and how it is run.

A stage is one function in ``cellmill/stages/<name>.py`` of that name. Its signature declares input
artifacts, output artifacts and parameters; ``python -m cellmill <name> --executor-input JSON`` runs
it in a KFP container, ``cellmill <name> --flag …`` by hand.
"""

from cellmill.contract.each import for_each_image
from cellmill.contract.progress import Progress
from cellmill.contract.types import (
    HTML,
    Artifact,
    Dataset,
    Input,
    Markdown,
    Metrics,
    Model,
    Output,
    Record,
    TaskFinalStatus,
)

__all__ = [
    "HTML",
    "Artifact",
    "Dataset",
    "Input",
    "Markdown",
    "Metrics",
    "Model",
    "Output",
    "Progress",
    "Record",
    "TaskFinalStatus",
    "for_each_image",
]
