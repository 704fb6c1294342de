"""What a pipeline says of itself beside its graph."""

from __future__ import annotations

import importlib

from pipelines.outputs import OutputFile


def outputs_of(pipeline: str) -> tuple[OutputFile, ...]:
    """Return where each of a pipeline's outputs goes, as `pipelines/<name>/pipeline.py` says."""
    return importlib.import_module(f"pipelines.{pipeline}.pipeline").OUTPUTS


def needs_truth(pipeline: str) -> bool:
    """Whether a pipeline is nothing without images of the user's own and their truth."""
    return getattr(importlib.import_module(f"pipelines.{pipeline}.pipeline"), "NEEDS_TRUTH", False)


def truth_setting(pipeline: str) -> str:
    """What make calls the label images of a pipeline that is nothing without them."""
    module = importlib.import_module(f"pipelines.{pipeline}.pipeline")
    return str(getattr(module, "TRUTH_SETTING", "LABELS"))
