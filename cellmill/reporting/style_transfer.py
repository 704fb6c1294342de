"""The page of a style transfer: what the gate says, samples, spectra, and the losses' curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from cellmill.reporting.charts import lines
from cellmill.reporting.page import render
from cellmill.reporting.pictures import encode_png, picture_uri
from cellmill.reporting.text import MISSING, fixed, number
from cellmill.style_transfer.fitting import MATCHED, UPPER, Fitted, there_and_back
from cellmill.style_transfer.gate import Row, inside
from cellmill.style_transfer.matching import histogram, histogram_distance
from cellmill.style_transfer.parameters import TransferParameters
from cellmill.style_transfer.sampling import Source, sample_volumes
from cellmill.style_transfer.spectra import log_spectrum, spectrum_gap
from cellmill.style_transfer.training import LOSSES
from cellmill.version import __version__

_SAMPLES = 3


def render_style_transfer(
    fitted: Fitted,
    parameters: TransferParameters,
    checkpoints: Path,
    target: Sequence[Source],
    name: str,
) -> str:
    """Write the page.

    Args:
        fitted: what the training came to.
        parameters: of the training.
        checkpoints: its folder.
        target: the volumes that were to be looked like.
        name: of the network.

    Returns:
        HTML that asks nothing of the network.
    """
    given, made, returned = there_and_back(fitted, parameters, checkpoints)
    halo = parameters.reach.halo
    side = given.shape[1]
    crops = sample_volumes(target, (1, side, side), seed=parameters.seed, count=len(given))
    wanted = np.stack([crop.values[0] for crop in crops])
    samples = [
        [
            _picture(inside(given, halo)[n]),
            _picture(made[n]),
            _picture(returned[n]),
            _picture(inside(wanted, halo)[n]),
        ]
        for n in range(min(_SAMPLES, len(given)))
    ]
    chosen = fitted.chosen
    figures = {row.name: row.f1_apart for row in fitted.rows}
    matched = [figures[name] for name in MATCHED if name in figures]
    page = {
        "title": name,
        "version": __version__,
        "facts": [
            f"{number(parameters.steps)} steps",
            f"planes across {', '.join(parameters.planes)}",
            *(f"{number(n)} steps of volumes" for n in [parameters.volume_steps] if n),
            f"{number(len(fitted.curve) - 1)} checkpoints",
        ],
        "figures": [
            {"title": "Chosen", "value": chosen.name},
            {"title": "F1, apart", "value": _shown(chosen.f1_apart)},
            *({"title": "Matched, at best", "value": _shown(max(matched))} for _ in matched[:1]),
            *(
                {"title": "Upper bound", "value": _shown(row.f1_apart)}
                for row in fitted.rows
                if row.name == UPPER
            ),
        ],
        "rows": [
            (row.name, [_shown(figure) for figure in _figures(row)], row == chosen)
            for row in fitted.rows
        ],
        "bounded": any(row.name == UPPER for row in fitted.rows),
        "verdict": _verdict(fitted),
        "samples": samples,
        "distances": _distances(inside(wanted, halo), {"X": inside(given, halo), "X to Y": made}),
        "curves": Markup(_curves(fitted)),
        "spectra": Markup(_spectra({"X": given, "made": made, "Y": wanted})),
    }
    return render("style_transfer.html.jinja", page)


def samples_picture(fitted: Fitted, parameters: TransferParameters, checkpoints: Path) -> bytes:
    """The first sample, what was made of it, and of that back, side by side: a PNG file."""
    planes = [_grey(each[0]) for each in there_and_back(fitted, parameters, checkpoints)]
    side = min(len(plane) for plane in planes)
    cuts = [(len(plane) - side) // 2 for plane in planes]
    alike = [plane[c : c + side, c : c + side] for plane, c in zip(planes, cuts, strict=True)]
    return encode_png(np.concatenate(alike, axis=1))


def _figures(row: Row) -> tuple[float, ...]:
    """In the order of the table's columns."""
    choosing, apart = row.figures[:2], row.figures[2:]
    return (*choosing, row.lead, row.least_lead, *apart)


def _verdict(fitted: Fitted) -> str:
    """What was taken and why, in a sentence or two."""
    chosen = fitted.chosen
    learnt = [row for row in fitted.rows if row.step >= 0]
    if not learnt:
        return ""
    if chosen.step < 0:
        best = max(learnt, key=lambda row: row.f1)
        return (
            f"Taken: matching ({chosen.name}). No checkpoint is better by more than chance; the "
            f"best, {best.name}, has an F1 that is {best.lead:+.3f} from it, by chance as little "
            f"as {best.least_lead:+.3f}. Transfer by training does not pay here."
        )
    return (
        f"Taken: the network after {number(chosen.step)} steps. Its F1 is {chosen.lead:.3f} above "
        f"the best matching on the planes that choose, and at least {chosen.least_lead:.3f} above "
        f"it, chance counted."
    )


def _distances(wanted: np.ndarray, planes: Mapping[str, np.ndarray]) -> list[tuple[str, str, str]]:
    """How far the grey values and spectra of planes lie from those wanted."""
    counts = histogram([wanted])
    return [
        (
            name,
            fixed(histogram_distance(histogram([_grey(each)]), counts)),
            fixed(spectrum_gap(_grey(each), wanted)),
        )
        for name, each in planes.items()
    ]


def _spectra(planes: dict[str, np.ndarray]) -> str:
    """Logarithms of the spectra, brought to 0 to 1 together."""
    found = {name: log_spectrum(each) for name, each in planes.items()}
    low, high = min(v.min() for v in found.values()), max(v.max() for v in found.values())
    shown = {name: list((v - low) / max(high - low, 1e-9)) for name, v in found.items()}
    count = len(next(iter(found.values())))
    places = [round((n + 0.5) / (2 * count), 3) for n in range(count)]
    return lines(places, shown, "cycles a pixel", "log power")


def _curves(fitted: Fitted) -> str:
    """The losses, each as a part of its largest value."""
    looks = [each for each in fitted.curve if each.losses]
    if not looks:
        return ""
    found = {}
    for name in LOSSES:
        values = np.array([each.losses[name] for each in looks])
        found[name] = list(values / max(float(values.max()), 1e-12))
    return lines([each.step for each in looks], found, "steps", "part of the largest")


def _picture(plane: np.ndarray) -> tuple[str, int]:
    """A plane as a picture, and how wide it is shown: two pixels each of its own."""
    return picture_uri(_grey(plane))[0], 2 * plane.shape[1]


def _grey(planes: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(planes, 0, 255)).astype(np.uint8)


def _shown(value: float) -> str:
    return fixed(value) if np.isfinite(value) else MISSING
