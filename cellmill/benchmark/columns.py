"""The columns of the benchmark's table: name, type, what it says; as Arrow's and BigQuery's schema.

The table is tidy: a row is one thing that was timed, a value has a column of its own, and what the
row is about stands in every row. So tables of several runs and machines are put below each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["text", "whole", "number", "truth", "time"]
#: By kind of column what BigQuery calls it.
_BIGQUERY = {
    "text": "STRING",
    "whole": "INT64",
    "number": "FLOAT64",
    "truth": "BOOL",
    "time": "TIMESTAMP",
}


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: of it.
        kind: of its values: a text, a whole number, a number, true or false, or a time as ISO 8601.
        meaning: what it says, with its unit.
        required: whether every row has a value.
    """

    name: str
    kind: Kind
    meaning: str
    required: bool = False


COLUMNS = (
    Column("run", "text", "The run, unique.", True),
    Column("condition", "text", "What was measured under, unique in its run.", True),
    Column("sweep", "text", "Which sweep asked for the condition: sizes, batch size, engine, …"),
    Column("round", "whole", "Which of several processes under the same condition, from 1.", True),
    Column("started", "time", "When the stage's process began its work, UTC.", True),
    Column("machine", "text", "The machine's name: a rented type, or processor and count.", True),
    Column("rented", "text", "Region, type, GPUs and spot of a rented machine; empty for others."),
    Column("cpus", "whole", "Processors that the process may use."),
    Column("cpu_model", "text", "The processors' model."),
    Column("memory_bytes", "whole", "The machine's memory, bytes."),
    Column("load", "number", "Average of runnable processes in the minute before the stage ended."),
    Column("platform", "text", "Operating system."),
    Column("python", "text", "Version of Python."),
    Column("gpu", "text", "The GPU that worked; empty for none."),
    Column("cellmill", "text", "Version of cellmill."),
    Column("environment", "text", "Container image, or the environment that stands for it."),
    Column("libraries", "text", "Versions of the libraries that were loaded."),
    Column("image", "text", "The image that crops and mosaics are made of."),
    Column("height_px", "whole", "Height of what was segmented, pixels.", True),
    Column("width_px", "whole", "Width of what was segmented, pixels.", True),
    Column("pixels", "whole", "Pixels of what was segmented, of one channel.", True),
    Column("channels", "whole", "Channels of the image."),
    Column("kept", "number", "Share of the truth's objects that were kept; 1: as the image is."),
    Column("mosaic", "truth", "Whether it is a synthetic mosaic of the image, not a crop."),
    Column("segmenter", "text", "The segmenter, as it was asked for.", True),
    Column("model", "text", "Name and version of its card."),
    Column("method", "text", "How objects are found, by kind of object."),
    Column("engine", "text", "What ran the network; empty where there is none."),
    Column("device", "text", "Where the network ran: cpu or gpu; empty where there is none."),
    Column("precision", "text", "What the network computed in; empty where there is none."),
    Column("batch_size", "whole", "Tiles predicted at a time; empty where there is no network."),
    Column("tile_px", "whole", "Side of the network's tiles, pixels; empty where there is none."),
    Column("diameter", "text", "The diameter that was given; `auto` where it was estimated."),
    Column("stage", "text", "The stage that was timed.", True),
    Column(
        "phase",
        "text",
        "`start`: the process and its imports; `import`: the engine's; `load`: the model; "
        "`warm-up`: the first image; `steady`: each image after it; `rest`: all else; `task`: the "
        "whole process.",
        True,
    ),
    Column(
        "step",
        "text",
        "A step inside an image's work; empty for the whole. Those of `predict`, `read` (with what "
        "is put beyond the border), `network`, `blend` and `write`, go on side by side: together "
        "they can take longer than the image.",
    ),
    Column("repeat", "whole", "Which image of the batch, 0 the warm-up; empty for other phases."),
    Column("wall_s", "number", "Wall time, seconds.", True),
    Column("cpu_s", "number", "Processor time of all threads, seconds."),
    Column("peak_rss_bytes", "whole", "Most memory that the process held, bytes; of `task` alone."),
    Column("gpu_peak_bytes", "whole", "Most memory held on the GPU, bytes; of `task` alone."),
    Column("bytes_read", "whole", "Bytes read by calls, not by memory maps; of `task` alone."),
    Column("bytes_written", "whole", "Size of the outputs, bytes; of `task` alone."),
    Column("objects", "whole", "Objects that were found in one image."),
    Column("objects_true", "whole", "Objects of the truth; empty where there is none."),
    Column("objects_per_mpx", "number", "Density: objects found in 10⁶ pixels."),
    Column("f1_50", "number", "F1 at IoU 0.5 against the truth; empty where there is none."),
    Column("ap_50", "number", "AP = TP / (TP + FP + FN) at IoU 0.5."),
    Column("panoptic_quality", "number", "Panoptic quality."),
)
NAMES = tuple(column.name for column in COLUMNS)
BY_NAME: Mapping[str, Column] = {column.name: column for column in COLUMNS}


def meanings() -> dict[str, str]:
    """Say what each column is, for the reference."""
    return {column.name: column.meaning for column in COLUMNS}


def bigquery_schema() -> list[dict[str, Any]]:
    """Return the table's schema as BigQuery's schema files hold it."""
    return [
        {
            "name": column.name,
            "type": _BIGQUERY[column.kind],
            "mode": "REQUIRED" if column.required else "NULLABLE",
            "description": column.meaning,
        }
        for column in COLUMNS
    ]
