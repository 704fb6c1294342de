"""What a pipeline says of itself beside its graph."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from launch.runs.segmenters import split_reference
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


def implied_settings(pipeline: str, given: Mapping[str, str]) -> dict[str, str]:
    """What follows from a user's settings where nothing else was set, as the pipeline says."""
    module = importlib.import_module(f"pipelines.{pipeline}.pipeline")
    return {
        key: text
        for (setting, value), others in getattr(module, "IMPLIED", {}).items()
        if given.get(setting) == value
        for key, text in others.items()
        if not given.get(key)
    }


def by_setting(pipeline: str, given: Mapping[str, str]) -> tuple[str, str]:
    """The pipeline to run where one of the user's settings asks for another, and that setting.

    Which environments a pipeline needs is settled when it is compiled, so that another environment
    is another pipeline; the one that is asked for says its name (`INSTEAD`).
    """
    module = importlib.import_module(f"pipelines.{pipeline}.pipeline")
    for (setting, value), other in getattr(module, "INSTEAD", {}).items():
        if given.get(setting) == value:
            return other, f"{setting.upper()}={value}"
    return pipeline, ""


def takes_weights(pipeline: str) -> bool:
    """Whether a pipeline takes a framework's own file of weights, where others take a model."""
    module = importlib.import_module(f"pipelines.{pipeline}.pipeline")
    return bool(getattr(module, "TAKES_WEIGHTS", False))


def with_reference(pipeline: str, given: dict[str, str]) -> tuple[str, dict[str, str]]:
    """The pipeline to run, and its settings: another where DeepCell's package is compared with.

    Which environments a pipeline needs is settled when it is compiled, so that one that runs the
    package is a pipeline of its own; the pipeline without says its name.
    """
    module = importlib.import_module(f"pipelines.{pipeline}.pipeline")
    other = str(getattr(module, "WITH_REFERENCE", ""))
    if not other:
        return pipeline, given
    others, model = split_reference(given["segmenters"])
    if not model:
        return pipeline, given
    return other, {**given, "segmenters": others, "reference_model": model}
