"""Says what a run will take before it is run: `python -m launch.estimate [PIPELINE] --make`.

Time is from measured speeds (`launch/speeds.json`), money from the dated table of prices
(`cellmill/reporting/prices.json`), machines from the pipeline rendered as it would be sent. What is
not known is said to be unknown.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cellmill.contract.recording import MACHINE_VARIABLE
from cellmill.errors import BadInput, CellmillError
from cellmill.io.images import open_file, open_image_at
from cellmill.io.listing import list_uris
from cellmill.reporting.costs import Rented, dollars, hourly, prices
from cellmill.reporting.text import number, seconds
from cellmill.terminal import say
from launch import ROOT
from launch.compiling.choices import choice_of
from launch.compiling.compiled import pipeline_names
from launch.compiling.renderings import render
from launch.runs.command_line import SettingsParser
from launch.runs.inputs import plane_choice

SPEEDS = ROOT / "launch" / "speeds.json"
REGION = "us-central1"
_SETTINGS = {
    "image": "file, folder, glob or URI",
    "pixels": "of all images, in place of IMAGE: 139e6 or 27120x26139",
    "target": "vertex (by default), kubeflow or local",
    "region": f"Vertex AI's region; {REGION} by default",
    "accelerator": "GPU of network stages, as NVIDIA_L4, or none",
    "accelerators": "how many of them a task gets",
    "machine_type": "the exact machine of network stages",
    "spot": "1 for machines that are cheap and can be taken away",
    "series": "image of a file that holds several, 0-based",
    "z": "plane of a stack, 0-based, or all",
    "t": "time point of a series, 0-based",
}


@dataclass(frozen=True)
class StageEstimate:
    """What a stage will take.

    Attributes:
        stage: its name.
        machine: what it runs on; None on this machine or on one that is not known.
        seconds: None where its speed is not known.
        usd: None where its time or its machine's price is not known.
        source: where the speed comes from.
    """

    stage: str
    machine: Rented | None
    seconds: float | None
    usd: float | None
    source: str = ""


def estimate(
    pipeline: str, megapixels: float, given: Mapping[str, str], speeds: Mapping[str, Any]
) -> list[StageEstimate]:
    """Estimate each stage of a pipeline.

    Args:
        pipeline: its name.
        megapixels: of all images, one channel.
        given: the settings, by the names of `make estimate`.
        speeds: as `launch/speeds.json` holds them.

    Raises:
        BadInput: no such target, machine or accelerator.
    """
    target = given.get("target", "") or "vertex"
    if target not in ("vertex", "kubeflow", "local"):
        raise BadInput("TARGET", expected="vertex, kubeflow or local", found=target)
    given = {**given, "region": given.get("region", "") or REGION}
    choice = choice_of(given, "kubeflow" if target == "kubeflow" else "vertex")
    rendering = "vertex-spot" if target == "vertex" and choice.exact else target
    rendering = "portable" if target == "local" else rendering
    text = render(pipeline, rendering, choice, report_failure=False)
    spec = next(iter(yaml.safe_load_all(text)))
    return [
        _stage(stage, machine, gpu, megapixels, speeds, local=target == "local")
        for stage, machine, gpu in stages_of(spec)
    ]


def stages_of(spec: Mapping[str, Any]) -> list[tuple[str, Rented | None, str]]:
    """Return a rendered pipeline's stages in order: name, machine, and type of GPU.

    Args:
        spec: a compiled pipeline.
    """
    found = []
    executors = spec["deploymentSpec"]["executors"]
    for name in _in_order(spec["root"]["dag"], spec["components"]):
        component = spec["components"][name]
        container = executors[component["executorLabel"]].get("container", {})
        stage = name.removeprefix("comp-").replace("-", "_")
        inputs = component.get("inputDefinitions", {}).get("parameters", {})
        pools = inputs.get("worker_pool_specs", {}).get("defaultValue")
        if pools:
            variables = pools[0]["container_spec"].get("env", [])
            gpu = pools[0]["machine_spec"].get("accelerator_type", "")
        else:
            variables = container.get("env", [])
            gpu = container.get("resources", {}).get("accelerator", {}).get("resourceType", "")
        told = {v["name"]: v["value"] for v in variables}.get(MACHINE_VARIABLE, "")
        found.append((stage, Rented.of(told), gpu))
    return found


def _in_order(dag: Mapping[str, Any], components: Mapping[str, Any]) -> Iterator[str]:
    """Yield the components of a graph's tasks, each after those it waits for."""
    left = dict(dag["tasks"])
    while left:
        task = next(t for t in left if not left.keys() & set(left[t].get("dependentTasks", [])))
        name = left.pop(task)["componentRef"]["name"]
        if "dag" in components[name]:
            yield from _in_order(components[name]["dag"], components)
        else:
            yield name


def _stage(
    stage: str,
    machine: Rented | None,
    gpu: str,
    megapixels: float,
    speeds: Mapping[str, Any],
    *,
    local: bool,
) -> StageEstimate:
    spent: float | None = None
    source = ""
    if gpu and not local:
        for row in speeds["published"]:
            if stage in row["stages"] and row["accelerator"] == gpu:
                spent = megapixels * row["seconds"] / row["megapixels"]
                source = row["source"]
    elif stage in (measured := speeds["measured"].get("stages", {})):
        speed = measured[stage]
        spent = speed["start_s"]
        spent += megapixels / speed["mpx_per_s"] if speed["mpx_per_s"] else 0.0
    hour = hourly(machine) if machine else None
    usd = None if spent is None or hour is None else hour * spent / 3600
    return StageEstimate(stage, machine, spent, usd, source)


def pixels_of(text: str) -> float:
    """Read a number of pixels: `139e6`, `708873480` or `27120x26139`.

    Raises:
        BadInput: it is none.
    """
    try:
        sides = [float(side) for side in re.split("[x×]", text)]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2) or min(sides) < 1:
        raise BadInput("PIXELS", expected="a number, or height x width", found=repr(text))
    return sides[0] * (sides[1] if len(sides) == 2 else 1)


def pixels_at(image: str, given: Mapping[str, str]) -> float:
    """Return the pixels of all images that `IMAGE` stands for; only their headers are read.

    Raises:
        BadInput: there are none, or one is none.
    """
    choice = plane_choice(given)
    total = 0
    for uri in list_uris(image):
        with open_file(uri) as file, open_image_at(uri, file, **choice) as opened:
            total += math.prod(opened.shape)
    return float(total)


def told(
    pipeline: str, megapixels: float, given: Mapping[str, str], speeds: Mapping[str, Any]
) -> list[str]:
    """Return an estimate as the lines that a user reads."""
    target = given.get("target", "") or "vertex"
    rows = estimate(pipeline, megapixels, given, speeds)
    where = {"vertex": f"on Vertex AI in {given.get('region') or REGION}", "local": "here"}
    lines = [f"{pipeline}, {number(megapixels)} Mpx, {where.get(target, 'on Kubernetes')}", ""]
    lines.append(f"{'stage':<16}{'machine':<38}{'time':>14}{'cost':>12}")
    for row in rows:
        time = "unknown" if row.seconds is None else seconds(row.seconds)
        cost = "unknown" if row.usd is None and target != "local" else dollars(row.usd)
        lines.append(f"{row.stage:<16}{_named(row.machine):<38}{time:>14}{cost:>12}")
    spent = sum(row.seconds or 0.0 for row in rows)
    unknown = [row.stage for row in rows if row.seconds is None]
    least = "at least " if unknown else ""
    lines += ["", f"in all, one task after the other: {least}{seconds(spent)}"]
    if target == "vertex":
        priced = [row.usd for row in rows if row.usd is not None]
        fee = prices()["run"]
        usd = sum(priced) + fee
        least = "at least " if len(priced) < len(rows) else ""
        each = f"; {least}{dollars(1000 * sum(priced) / megapixels)} per gigapixel"
        lines.append(
            f"cost: {least}{dollars(usd)}, of which {dollars(fee)} for the run{each * bool(priced)}"
        )
    return [*lines, *_notes(rows, target, speeds)]


def _notes(rows: Sequence[StageEstimate], target: str, speeds: Mapping[str, Any]) -> list[str]:
    measured = speeds["measured"]
    notes = []
    if measured:
        notes.append(
            f"speeds: {measured['command']}, {measured['date']}, on {measured['cpus']} processors "
            f"({measured['cpu_model']}); more processors are faster"
        )
        if measured["load"] > measured["cpus"]:
            notes.append(
                f"they were measured beside other work (load {measured['load']}): measure anew"
            )
    for source in dict.fromkeys(row.source for row in rows if row.source):
        notes.append(f"a GPU's speed is of {source}")
    unknown = [row.stage for row in rows if row.seconds is None]
    if unknown:
        notes.append(f"no speed is known of {', '.join(unknown)} there")
    if target == "vertex":
        unpriced = {
            _named(row.machine)
            for row in rows
            if row.machine is not None and hourly(row.machine) is None
        }
        notes += [f"no price is known of {name}" for name in sorted(unpriced)]
        notes.append(
            f"prices of {prices()['date']} (cellmill/reporting/prices.json); machines' start, "
            "disks and traffic are not in it"
        )
        if any(row.machine is not None and row.machine.spot for row in rows):
            notes.append("spot prices change daily; Vertex AI's fee on them is not in it")
    elif target == "kubeflow":
        notes.append("what a cluster costs is not known here")
    return ["", *(f"note: {note}" for note in notes)]


def _named(machine: Rented | None) -> str:
    if machine is None:
        return ""
    gpu = f" + {machine.count} {machine.accelerator}" if machine.accelerator else ""
    return f"{machine.machine or 'unknown'}{gpu}{', spot' if machine.spot else ''}"


def main(argv: Sequence[str] | None = None) -> int:
    """Print what a run will take; return 0, or 2 with one line on stderr."""
    parser = SettingsParser("launch.estimate")
    parser.add_argument("pipeline", nargs="?", default="deepcell_segmentation")
    parser.add_settings(_SETTINGS)
    try:
        given, _ = parser.given(argv)
        pipeline = given.pop("pipeline")
        if pipeline not in pipeline_names():
            names = ", ".join(pipeline_names())
            raise BadInput("NAME", expected=f"one of {names}", found=pipeline)
        if bool(given["pixels"]) == bool(given["image"]):
            found = "both" if given["pixels"] else "neither"
            raise BadInput("IMAGE or PIXELS", expected="one of them", found=found)
        pixels = pixels_of(given["pixels"]) if given["pixels"] else pixels_at(given["image"], given)
        speeds = json.loads(Path(SPEEDS).read_text())
        for line in told(pipeline, pixels / 1e6, given, speeds):
            say(line)
    except CellmillError as error:
        say(f"cellmill: {error}", to=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
