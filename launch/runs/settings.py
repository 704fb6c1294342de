"""What a user set for a run: flags and make's variables, as the arguments of a pipeline."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from cellmill.arrays.files import absolute_place
from cellmill.errors import BadInput
from cellmill.exports.programs import PROGRAMS, check_volumes, programs_of
from cellmill.style_transfer.parameters import TransferParameters
from cellmill.style_transfer.places import each_place, moved, volumes_named
from launch import ROOT
from launch.compiling.choices import flag
from launch.runs.axes import axes_of, axis_settings, json_object
from launch.runs.benchmarks import SETTINGS as BENCHMARK_SETTINGS
from launch.runs.benchmarks import conditions_of, reference_conditions
from launch.runs.command_line import SettingsParser
from launch.runs.inputs import MAX_BATCHES, Item, cut
from launch.runs.models import model_of
from launch.runs.segmenters import file_digest, segmenters_of
from launch.runs.tables import implied_settings, needs_truth, truth_setting

#: Batches of fewer images only load the model again.
IMAGES_PER_WORKER = 4
#: Parameters that the launcher fills, not the user.
FILLED = ("batches", "items", "hard_background", "conditions", "reference_conditions")
#: Parameters that are places of this machine or elsewhere: those that tasks read, and those that
#: they write to and share.
READ_PLACES = ("volume", "mask")
#: Parameters that are lists of places that tasks read.
READ_LISTS = ("x", "y", "x_truth", "y_truth", "x_masks", "y_masks")
WRITTEN_PLACES = ("store", "destination", "checkpoints")
#: Variables of the Makefile that are no settings of a run.
_MAKES_OWN = {"PYTHON", "VENV", "CLOUD", "DEV", "UV_VERSION"}
_CASTS = {"NUMBER_INTEGER": int, "NUMBER_DOUBLE": float}

#: A pipeline's parameters by name, as its compiled YAML declares them.
Parameters = Mapping[str, Mapping[str, Any]]


def parameters_of(spec: Path) -> Parameters:
    """Return what a compiled pipeline says of its parameters."""
    document = yaml.safe_load(spec.read_text())
    found: Parameters = document["root"].get("inputDefinitions", {}).get("parameters", {})
    return found


def settings_of(
    name: str, parameters: Parameters, own: Mapping[str, str], argv: Sequence[str]
) -> dict[str, str]:
    """Return what the user set, by name; empty where nothing.

    Args:
        name: the pipeline's name.
        parameters: its parameters; each is a setting.
        own: the launcher's settings, and what `--help` says of them.
        argv: the command line. With `--make` settings are taken from the environment.

    Raises:
        CellmillError: a flag is none.
        BadInput: make was given a variable that is no setting.
    """
    parser = SettingsParser(f"launch.run {name}")
    parser.add_settings(own)
    if "axes" in parameters:
        parser.add_settings(axis_settings(taken={*own, *parameters}))
    if "conditions" in parameters:
        parser.add_settings(BENCHMARK_SETTINGS)
    parser.add_settings(
        {
            key: f"{each.get('description', '')} [{json.dumps(each.get('defaultValue', ''))}]"
            for key, each in parameters.items()
            if key not in FILLED and not key.endswith("_digest")
        }
    )
    given, by_make = parser.given(argv)
    if by_make:
        # For training, make has names of its own for the images and their truth.
        own_names = {"IMAGES", truth_setting(name)} if needs_truth(name) else set()
        _check_names(name, {key.upper() for key in given} | own_names)
    return {**given, **implied_settings(name, given)}


def check_taken(
    given: Mapping[str, str], before: Parameters, taken: Parameters, because: str
) -> None:
    """Refuse settings of a pipeline that another, which is run in its place, does not have.

    Args:
        given: the user's settings.
        before: parameters of the pipeline that was asked for.
        taken: parameters of the one that is run.
        because: the setting that asks for it.

    Raises:
        BadInput: one is given.
    """
    own = because.split("=")[0].lower()
    for key in before:
        if given.get(key) and key not in taken and key != own:
            raise BadInput(key.upper(), expected=f"none beside {because}", found=given[key])


def _check_names(pipeline: str, known: set[str]) -> None:
    """Refuse a variable of make's command line that is no setting: another's, or a slip."""
    for name in os.environ.get("CELLMILL_SETTINGS", "").split():
        if name not in known | _MAKES_OWN:
            others = _pipelines_with(name)
            if others:
                found = f"one of {', '.join(others)}"
                raise BadInput(f"setting {name}", expected=f"a setting of {pipeline}", found=found)
            near = difflib.get_close_matches(name.upper(), sorted(known), 1, 0.5)
            expected = f"{near[0]}" if near else f"one of {', '.join(sorted(known))}"
            raise BadInput(f"setting {name}", expected=expected, found="no setting of that name")


def _pipelines_with(name: str) -> list[str]:
    """Which pipelines have a setting, by the comment that their compiled YAML begins with."""
    files = sorted((ROOT / "pipelines").glob("*/pipeline.yaml"))
    inputs = {file.parent.name: file.read_text().partition("# Outputs:")[0] for file in files}
    return [found for found, text in inputs.items() if f"\n#    {name.lower()}: " in text]


def arguments_of(
    parameters: Parameters,
    given: Mapping[str, str],
    items: list[Item],
    most: int,
    background: Callable[[], list[Item]],
    find_model: Callable[[str], str] = model_of,
) -> dict[str, Any]:
    """Return a pipeline's arguments.

    Args:
        parameters: its parameters.
        given: the user's settings.
        items: the images.
        most: at most so many batches, unless each image has tasks of its own side by side.
        background: finds the items of `hard_background`, for a pipeline that takes them.
        find_model: gives what tasks are told for a model that the user names.

    Raises:
        BadInput: a setting is not of its parameter's type.
    """
    arguments: dict[str, Any] = {}
    models = {key: find_model(given[key]) for key in parameters if f"{key}_digest" in parameters}
    for key, declared in parameters.items():
        kind = declared["parameterType"]
        if key == "batches":
            # A slide has tasks of its own side by side: each is a batch.
            slides = "most_shards" in parameters
            workers = min(most, max(1, len(items) // IMAGES_PER_WORKER))
            arguments[key] = cut(items, MAX_BATCHES if slides else workers)
        elif key == "items":
            (arguments[key],) = cut(items, 1)
        elif key == "hard_background":
            (arguments[key],) = cut(background(), 1)
        elif key.endswith("_digest"):
            arguments[key] = file_digest(models[key.removesuffix("_digest")])
        elif key == "axes":
            arguments[key] = axes_of(given)
        elif key == "conditions":
            arguments[key] = conditions_of(given, items)
            if "reference_conditions" in parameters:
                model = given["reference_model"]
                arguments["reference_conditions"] = reference_conditions(arguments[key], model)
        elif key == "reference_conditions":
            continue
        elif key == "segmenters":
            arguments[key] = segmenters_of(given[key])
        elif key == "export":
            arguments[key] = ",".join(_programs(parameters, given))
        elif given[key]:
            text = models.get(key, given[key])
            if key in (*READ_PLACES, *WRITTEN_PLACES):
                text = moved(text, absolute_place)
            text = each_place(text, absolute_place, key.upper()) if key in READ_LISTS else text
            arguments[key] = _cast(key, text, kind)
        elif is_required(key, declared):
            expected = declared.get("description", "a value").rstrip(".")
            raise BadInput(key.upper(), expected=expected, found="nothing")
    _check_lists(arguments)
    _check_training(parameters, arguments)
    return arguments


def _check_lists(arguments: Mapping[str, Any]) -> None:
    """Refuse lists of volumes that do not go with each other, before anything runs."""
    for name in ("x", "y"):
        if arguments.get(name):
            lists = (arguments.get(f"{name}_{of}", "") for of in ("truth", "masks", "boxes"))
            volumes_named(name.upper(), arguments[name], *lists)


def _check_training(parameters: Parameters, arguments: Mapping[str, Any]) -> None:
    """Refuse what no style transfer is trained by, before anything runs or is sent."""
    if not {"objective", "depth", "crop"} <= {*parameters}:
        return
    told: dict[str, Any] = {}
    for name in {field.name for field in fields(TransferParameters)} & {*parameters}:
        kind = parameters[name]["parameterType"]
        value = arguments.get(name, parameters[name].get("defaultValue"))
        told[name] = int(value) if kind == "NUMBER_INTEGER" else value
    try:
        TransferParameters(**told)
    except BadInput as error:
        raise error.about(error.what.upper()) from None


def _programs(parameters: Parameters, given: Mapping[str, str]) -> tuple[str, ...]:
    """The forms that results go to, refused here where images cannot have them."""

    def asked(key: str) -> str:
        declared = parameters.get(key, {}).get("defaultValue", "")
        return f"{given.get(key) or declared}".strip().lower()

    names = programs_of(given["export"], "EXPORT")
    check_volumes(names, asked("z") == "all", "EXPORT")
    for name in names:
        if PROGRAMS[name].series and asked("t") != "all":
            raise BadInput(
                "EXPORT",
                expected=f"T=all beside {name}",
                found=f"T={asked('t')}" if asked("t") else "single images",
            )
    return names


def is_required(key: str, declared: Mapping[str, Any]) -> bool:
    """Whether a pipeline is nothing without a parameter that the user gives."""
    filled = key in FILLED or key.endswith("_digest") or key in ("axes", "segmenters")
    return not filled and not declared.get("isOptional") and "defaultValue" not in declared


def _cast(key: str, text: str, kind: str) -> Any:
    if kind == "BOOLEAN":
        return flag(key.upper(), text)
    if kind == "STRUCT":
        return json_object(key.upper(), text)
    try:
        return _CASTS.get(kind, str)(text)
    except ValueError:
        expected = "a whole number" if kind == "NUMBER_INTEGER" else "a number"
        raise BadInput(key.upper(), expected=expected, found=repr(text)) from None
