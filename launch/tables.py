"""Finds a pipeline's table of outputs."""

from __future__ import annotations

import importlib

from pipelines.outputs import OutputFile


def outputs_of(pipeline: str) -> tuple[OutputFile, ...]:
    """Return where each of a pipeline's outputs goes, as ``pipelines/<name>/pipeline.py`` says."""
    return importlib.import_module(f"pipelines.{pipeline}.pipeline").OUTPUTS
