"""The page on a restoration: before and after side by side, and what there is to judge it by."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cellmill.reporting.charts import curves
from cellmill.reporting.page import render
from cellmill.reporting.psf import ShownPsf, psf_section
from cellmill.reporting.restoration_pictures import Cut, Panel, cut_panels, side_by_side
from cellmill.reporting.text import MISSING, number
from cellmill.restoration.assessment import axial_spectrum, lateral_spectrum
from cellmill.restoration.consensus import LEAST_AGREED
from cellmill.version import __version__

#: By which name a state of an image goes: as acquired, restored without total variation, restored,
#: the true objects.
BEFORE, PLAIN, AFTER, TRUE = "as acquired", "Richardson-Lucy", "restored", "true objects"

_COLUMNS = ("RMSE", "true", "found", "matched", "missed", "false", "mean IoU")


@dataclass(frozen=True)
class FoundObjects:
    """What was found in one state of an image, against the truth where there is one.

    Attributes:
        found: objects.
        true: true objects; None without truth.
        matched: pairs of an IoU of at least 0.5.
        mean_iou: of these pairs.
    """

    found: int
    true: int | None = None
    matched: int = 0
    mean_iou: float = math.nan


@dataclass(frozen=True)
class RestoredChannel:
    """One channel of an image, before and after.

    Attributes:
        name: of the channel.
        states: `(Y, X)` or `(Z, Y, X)` float32 by state, in one unit, background taken off.
        labels: label images of that shape, by state, where they were segmented.
        errors: root mean square error against the true objects, by state.
        objects: what was found, by state.
        psf: by which it was restored.
        note: what the record of deconvolution says of it.
    """

    name: str
    states: Mapping[str, np.ndarray]
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)
    objects: Mapping[str, FoundObjects] = field(default_factory=dict)
    psf: ShownPsf | None = None
    note: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Restoration:
    """One image that was restored.

    Attributes:
        name: of the image.
        shape: voxels, an axis each, without channels.
        voxel_um: µm per voxel, an axis each; None where unknown.
        method: how it was restored, in words.
        channels: what is shown of each.
        warnings: a line each.
        window: what is shown of a large image, in words; empty for all of it.
    """

    name: str
    shape: tuple[int, ...]
    voxel_um: tuple[float, ...] | None
    method: str
    channels: Sequence[RestoredChannel]
    warnings: Sequence[str] = ()
    window: str = ""

    def numbers(self) -> dict[str, Any]:
        """The figures as JSON values."""
        return {
            "image": self.name,
            "method": self.method,
            "warnings": [*self.warnings],
            "channels": {
                each.name: {
                    "rmse": dict(each.errors),
                    "objects": {state: _plain(found) for state, found in each.objects.items()},
                    "noise_left": each.note.get("noise_left"),
                    "background": each.note.get("background"),
                }
                for each in self.channels
            },
        }


def show_restoration(restoration: Restoration) -> tuple[str, np.ndarray]:
    """Show what was done to one image.

    Returns:
        The page, HTML that asks nothing of the network; and the first channel's cuts in one
        picture, a row a cut, a column a state, uint8 `(Y, X, 3)`.
    """
    sizes = restoration.voxel_um or (1.0,) * len(restoration.shape)
    cuts = [cut_panels(each.states, each.labels, sizes) for each in restoration.channels]
    return _page(restoration, cuts), side_by_side(cuts[0][:2])


def _page(restoration: Restoration, cuts: Sequence[Sequence[Cut]]) -> str:
    sizes = restoration.voxel_um
    page = {
        "name": restoration.name,
        "version": __version__,
        "facts": [
            " × ".join(f"{side:,}" for side in restoration.shape) + " voxels",
            "voxel size "
            + (
                " × ".join(number(size) for size in sizes) + " µm (" + _axes(sizes) + ")"
                if sizes
                else "unknown"
            ),
            restoration.method,
        ],
        "warnings": [*restoration.warnings],
        "window": restoration.window,
        "channels": [
            _channel(each, restoration, own)
            for each, own in zip(restoration.channels, cuts, strict=True)
        ],
    }
    return render("restoration.html.jinja", page)


def _axes(sizes: Sequence[float]) -> str:
    return ", ".join("zyx"[-len(sizes) :])


def _channel(channel: RestoredChannel, whole: Restoration, cuts: Sequence[Cut]) -> dict[str, Any]:
    return {
        "name": channel.name if len(whole.channels) > 1 else "",
        "figures": _figures(channel),
        "cuts": [_cut(cut) for cut in cuts],
        "outlined": bool(channel.labels),
        "charts": _charts(channel, whole, cuts[0]),
        "table": _table(channel),
        "has_truth": any(found.true is not None for found in channel.objects.values()),
        "psf": psf_section(channel.psf) if channel.psf else None,
        "note": _note(channel.note),
    }


def _cut(cut: Cut) -> dict[str, Any]:
    return {"title": cut.title, "panels": [_panel(panel) for panel in cut.panels]}


def _panel(panel: Panel) -> dict[str, str]:
    return {"name": panel.name, "uri": panel.uri}


def _figures(channel: RestoredChannel) -> list[tuple[str, str, str]]:
    """Name, value and what stands small beside it."""
    found = []
    if BEFORE in channel.errors and AFTER in channel.errors:
        before, after = (number(channel.errors[state]) for state in (BEFORE, AFTER))
        found.append(("RMSE against the truth", after, f"from {before}"))
    if AFTER in channel.objects:
        found += _counted(channel.objects[AFTER], channel.objects.get(BEFORE))
    if channel.note.get("divergence"):
        found.append(("iterations", f"{len(channel.note['divergence'])}", _ended(channel.note)))
    if channel.note.get("noise_left") is not None:
        found.append(("noise left alone", f"{channel.note['noise_left']:.2f}", "1 is right"))
    return found


def _ended(note: Mapping[str, Any]) -> str:
    agreed = note.get("agreed") or [1.0]
    return "ended by consensus" if agreed[-1] < LEAST_AGREED else ""


def _counted(after: FoundObjects, before: FoundObjects | None) -> list[tuple[str, str, str]]:
    if after.true is None:
        return [("objects", f"{after.found}", f"{before.found} before" if before else "")]
    beside = f"of {after.true} true" + (f", {before.matched} before" if before else "")
    return [("objects matched", f"{after.matched}", beside)]


def _note(note: Mapping[str, Any]) -> str:
    if "background" not in note:
        return ""
    memory = note.get("memory") or {}
    said = f"A background of {number(note['background'])} was part of the model."
    if note.get("offset"):
        said = f"The camera's offset of {number(note['offset'])} was taken off. " + said
    if note.get("gain"):
        said += f" A photon was taken for {number(note['gain'])} grey levels."
    if memory:
        cut = f"in {memory['blocks']} blocks" if memory["blocks"] else "all at once"
        said += f" Planned memory: {memory['whole_mib']:,} MiB; computed {cut}."
    return said


def _charts(channel: RestoredChannel, whole: Restoration, cut: Cut) -> list[dict[str, str]]:
    unit = "µm" if whole.voxel_um else "voxels"
    sizes = whole.voxel_um or (1.0,) * len(whole.shape)
    states = channel.states
    along: Any = (*cut.point[:-1], slice(None))
    places = np.arange(whole.shape[-1]) * sizes[-1]
    line = {name: (places[: v.shape[-1]], v[along]) for name, v in states.items()}
    found = [
        {
            "title": "Intensity along x, brightest object",
            "svg": curves(line, f"x, {unit}", "intensity"),
        }
    ]
    lateral = {name: lateral_spectrum(values, sizes) for name, values in states.items()}
    found.append(
        {
            "title": "Power spectrum in the planes",
            "svg": curves(
                {name: (each.frequency, each.power) for name, each in lateral.items()},
                f"cycles per {unit.rstrip('s')}",
                "power, as a part of the lowest frequency's",
                logarithmic=True,
            ),
        }
    )
    if len(whole.shape) == 3 and whole.shape[0] > 3:
        axial = {name: axial_spectrum(values, sizes) for name, values in states.items()}
        found.append(
            {
                "title": "Power spectrum along z",
                "svg": curves(
                    {name: (each.frequency, each.power) for name, each in axial.items()},
                    f"cycles per {unit.rstrip('s')}",
                    "power, as a part of the lowest frequency's",
                    logarithmic=True,
                ),
            }
        )
    found += _curve(channel.note)
    return [each for each in found if each["svg"]]


def _curve(note: Mapping[str, Any]) -> list[dict[str, str]]:
    divergence = note.get("divergence") or []
    if len(divergence) < 2:
        return []
    numbers = range(1, len(divergence) + 1)
    agreed = note.get("agreed") or [1.0]
    return [
        {
            "title": "Likelihood and change",
            "svg": curves(
                {
                    "I-divergence a voxel": (numbers, divergence),
                    "change, of all light": (numbers, note["change"]),
                }
                | ({"in consensus": (numbers, agreed)} if min(agreed) < 1 else {}),
                "iteration",
                "divergence and change",
                logarithmic=True,
            ),
        }
    ]


def _table(channel: RestoredChannel) -> dict[str, Any] | None:
    """What the states are worth, by columns in which something is known; None for a mere count."""
    rows: list[tuple[str, dict[str, str]]] = []
    for state in channel.states:
        found, error = channel.objects.get(state), channel.errors.get(state)
        values = {} if error is None else {"RMSE": number(error)}
        values |= {} if found is None else _judged(found)
        if values:
            rows.append((state, values))
    columns = [name for name in _COLUMNS if any(name in values for _, values in rows)]
    if len(rows) < 2 and columns in ([], ["found"]):
        return None
    filled = [(state, [values.get(name, MISSING) for name in columns]) for state, values in rows]
    return {"columns": columns, "rows": filled}


def _judged(found: FoundObjects) -> dict[str, str]:
    """What is known of the objects of a state, by column."""
    values = {"found": f"{found.found}"}
    if found.true is not None:
        values |= {"true": f"{found.true}", "matched": f"{found.matched}"}
        values |= {"missed": f"{found.true - found.matched}"}
        values |= {"false": f"{found.found - found.matched}"}
    if math.isfinite(found.mean_iou):
        values["mean IoU"] = f"{found.mean_iou:.3f}"
    return values


def _plain(found: FoundObjects) -> dict[str, Any]:
    mean = found.mean_iou if math.isfinite(found.mean_iou) else None
    return {
        "found": found.found,
        "true": found.true,
        "matched": found.matched if found.true is not None else None,
        "mean_iou": mean,
    }
