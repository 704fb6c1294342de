"""The benchmark's figures, by name: those of the seeds' benchmarks, and one a factor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cellmill.benchmark.guidelines import FACTORS, PROPERTIES, device_pairs, valued
from cellmill.benchmark.results import FIRST, Grown, Measured, Results, Setting, labels
from cellmill.benchmark.statistics import Growth, Mean
from cellmill.reporting.costs import dollars
from cellmill.reporting.drawings import Drawing
from cellmill.reporting.figures import Axis, Bar, Series, bars, points
from cellmill.reporting.text import number, percent, seconds

_PIXELS = "image size, Mpx"
_ERRORS = "bars: ± SD of the repeats; dotted: fitted power law"
_MIB = 1 << 20
#: Of a setting so many steps are shown, and those that take such a part of an image's time.
_MOST_STEPS, _LEAST_SHARE = 8, 0.01


@dataclass(frozen=True)
class Figure:
    """A figure.

    Attributes:
        name: of its files.
        title: of it.
        caption: what it shows, and how.
        drawing: itself.
    """

    name: str
    title: str
    caption: str
    drawing: Drawing


def figures(results: Results) -> list[Figure]:
    """Draw every figure that the results have data for, in the order of the page."""
    sizes = results.sizes()
    swept = [grown for grown in sizes if len(grown.sizes) > 1]
    found: list[Figure | None] = [_stages(sizes), _steps(sizes)] if sizes else []
    if swept:
        found += [
            _against_pixels("inference_time", "Inference", "predict", swept),
            _against_pixels("postprocessing_time", "Post-processing", "postprocess", swept),
            _total(swept, log=False),
            _total(swept, log=True),
            _memory(swept),
        ]
    found += [_improvement(results), _accuracy(results), _cost(results)]
    found += [_factor(name, results) for name in FACTORS]
    found += [_property(name, results) for name in PROPERTIES]
    return [figure for figure in found if figure]


def _stages(sizes: Sequence[Grown]) -> Figure:
    """What an image takes by stage, and what a process takes before: bars at the largest size."""
    names = labels([grown.setting for grown in sizes])
    rows = []
    for grown in sizes:
        largest = grown.sizes[-1]
        begin = sum(v for (_, p), v in largest.phases.items() if p in FIRST and p != "warm-up")
        steady = {stage: mean.value for stage, mean in largest.stages.items()}
        name = f"{names[grown.setting]}, {_mpx(largest)}"
        parts = {**steady, "start, import and load, once": begin}
        rows.append(Bar(name, parts, said=seconds(sum(steady.values()))))
    return Figure(
        "stages",
        "What dominates",
        "Mean wall time of an image by stage at steady state, at the largest size, and what the "
        "stages’ processes take once before their first image. Behind a bar: an image, without "
        "that.",
        bars("What dominates", rows, "wall time, s"),
    )


def _steps(sizes: Sequence[Grown]) -> Figure | None:
    """What the steps inside the stages take at the largest size, the longest first."""
    names = labels([grown.setting for grown in sizes])
    rows = []
    for grown in sizes:
        largest = grown.sizes[-1]
        before = f"{names[grown.setting]}, " if len(sizes) > 1 else ""
        longest = sorted(largest.steps.items(), key=lambda each: -each[1])[:_MOST_STEPS]
        for (stage, step), spent in longest:
            if spent >= _LEAST_SHARE * largest.total.value:
                name = f"{before}{stage}: {step}"
                rows.append(Bar(name, {"time": spent}, said=seconds(spent)))
    if not rows:
        return None
    return Figure(
        "steps",
        "Inside the stages",
        "Mean wall time of each step of an image at steady state, at the largest size; steps of "
        f"less than {percent(_LEAST_SHARE)} of the image’s time are left out. Those of `predict` "
        "go on side by side, so that together they can take longer than it does.",
        bars("Inside the stages", rows, "wall time, s"),
    )


def _against_pixels(name: str, title: str, stage: str, swept: Sequence[Grown]) -> Figure | None:
    having = [g for g in swept if stage in g.stages]
    if stage == "predict":
        having = [g for g in having if g.setting.engine]
    if not having:
        return None
    series = _series(having, lambda m: m.stages[stage], lambda g: g.stages[stage])
    return Figure(
        name,
        f"{title} against pixels",
        f"Wall time of `{stage}` for an image at steady state; {_ERRORS}.",
        points(
            f"{title} time against image size",
            series,
            Axis(_PIXELS, log=True),
            Axis("wall time, s", log=True),
        ),
    )


def _total(swept: Sequence[Grown], *, log: bool) -> Figure:
    series = _series(swept, lambda m: m.total, lambda g: g.total if log else None)
    kind = "log time" if log else "time"
    said = _ERRORS if log else "bars: ± SD of the repeats"
    return Figure(
        f"total_{'time_log' if log else 'time'}",
        f"An image in all, {kind}",
        f"Wall time of all stages for an image at steady state; {said}.",
        points(
            f"Time of an image against its size{', logarithmic' if log else ''}",
            series,
            Axis(_PIXELS, log=log),
            Axis("wall time, s", log=log),
        ),
    )


def _series(
    having: Sequence[Grown],
    value: Callable[[Measured], Mean],
    law: Callable[[Grown], Growth | None],
) -> list[Series]:
    names = labels([grown.setting for grown in having])
    found = []
    for grown in having:
        means = [value(each) for each in grown.sizes]
        fitted = law(grown)
        ends = np.geomspace(grown.sizes[0].pixels, grown.sizes[-1].pixels, 20)
        name = names[grown.setting]
        if fitted:
            name += f": exponent {fitted.exponent:.2f} ({fitted.low:.2f} to {fitted.high:.2f})"
        found.append(
            Series(
                name,
                [each.pixels / 1e6 for each in grown.sizes],
                [mean.value for mean in means],
                [mean.sd for mean in means],
                [(at / 1e6, fitted.at(at)) for at in map(float, ends)] if fitted else (),
            )
        )
    return found


def _memory(swept: Sequence[Grown]) -> Figure:
    names = labels([grown.setting for grown in swept])
    series = []
    for grown in swept:
        fitted = grown.memory
        stage = grown.largest_stage
        name = f"{names[grown.setting]}, {stage}"
        if fitted and fitted.per_pixel_low > 0:
            name += f": {number(fitted.per_pixel)} B a pixel above {number(fitted.base / _MIB)} MiB"
        at = [each.pixels / 1e6 for each in grown.sizes]
        series.append(Series(name, at, [each.peak_bytes[stage] / _MIB for each in grown.sizes]))
        on_gpu = [(each.pixels / 1e6, each.gpu_bytes / _MIB) for each in grown.sizes]
        if any(used for _, used in on_gpu):
            x, y = zip(*on_gpu, strict=True)
            series.append(Series(f"{names[grown.setting]}: on the GPU", x, y))
    return Figure(
        "memory",
        "Memory against pixels",
        "The most memory that the process of the largest stage held, libraries included.",
        points("Peak memory against image size", series, Axis(_PIXELS), Axis("peak memory, MiB")),
    )


def _improvement(results: Results) -> Figure | None:
    pairs = device_pairs(results)
    series = [
        Series(
            name,
            [cpu.pixels / 1e6 for cpu, _ in found],
            [100 * (1 - gpu.total.value / cpu.total.value) for cpu, gpu in found],
        )
        for name, found in pairs.items()
    ]
    if not series:
        return None
    return Figure(
        "gpu_improvement",
        "GPU against CPU",
        "How much less wall time an image takes at steady state, all stages, with the network on "
        "a GPU.",
        points(
            "Time saved by the GPU",
            series,
            Axis(_PIXELS, log=True),
            Axis("less time than on the CPU, %"),
        ),
    )


def _accuracy(results: Results) -> Figure | None:
    groups = results.segmenters()
    scored = [m for group in groups for m in group if m.f1_50 is not None]
    if len(scored) < 2:
        return None
    names = labels([each.setting for each in scored])
    series = [
        Series(
            names[each.setting],
            [each.pixels / 1e6 / each.total.value],
            [each.f1_50 or 0.0],
        )
        for each in scored
    ]
    return Figure(
        "accuracy",
        "Speed against accuracy",
        "Each segmenter once, on the same square; F1 of matches at IoU 0.5 or more with the "
        "truth. Up and to the right is better.",
        points(
            "Accuracy against speed",
            series,
            Axis("speed at steady state, Mpx/s", log=True),
            Axis("F1 at IoU 0.5", zero=False),
        ),
    )


def _cost(results: Results) -> Figure | None:
    largest = [grown.sizes[-1] for grown in results.sizes()]
    priced = [(each, each.usd_per_gigapixel(results.prices)) for each in largest]
    known = sorted(((m, cost) for m, cost in priced if cost), key=lambda each: each[1].value)
    if not known:
        return None
    names = labels([each.setting for each, _ in known])
    shown = {each.setting: _with_machine(names[each.setting], each.setting) for each, _ in known}
    rows = []
    for each, cost in known:
        low, high = (cost.low, cost.high) if cost.count > 1 else (None, None)
        name = shown[each.setting]
        rows.append(Bar(name, {"cost": cost.value}, low, high, dollars(cost.value)))
    return Figure(
        "cost",
        "Cost",
        "What 10⁹ pixels cost at steady speed and at the largest size: machines and GPUs while "
        "the stages run, without their start, disks and traffic. Lines: 95 % intervals.",
        bars("Cost of a gigapixel", rows, "US dollars a gigapixel"),
    )


def _with_machine(name: str, setting: Setting) -> str:
    return name if setting.machine in name else f"{name}, {setting.machine}"


def _factor(name: str, results: Results) -> Figure | None:
    groups = results.factor(name)
    if not groups:
        return None
    many = len(groups) > 1
    rows = []
    for group in groups:
        for each in sorted(group, key=lambda m: getattr(m.setting, name)):
            mean = each.stages["predict"]
            value = FACTORS[name].format(getattr(each.setting, name))
            speed = each.pixels / 1e6 / mean.value
            ends: tuple[float | None, float | None] = (None, None)
            if mean.count > 1 and mean.low > 0:
                ends = (each.pixels / 1e6 / mean.high, each.pixels / 1e6 / mean.low)
            what = f"{each.setting.segmenter}, " if many else ""
            said = f"{number(speed)} Mpx/s"
            rows.append(Bar(f"{what}{value}", {"speed": speed}, *ends, said))
    title = {
        "engine": "Engines",
        "precision": "Precisions",
        "batch_size": "Batch sizes",
        "tile_px": "Tiles",
    }[name]
    about = f"{groups[0][0].setting.segmenter}, {_mpx(groups[0][0])}"
    return Figure(
        name,
        title,
        f"Speed of `predict` at steady state, {about}. Lines: 95 % intervals of the mean.",
        bars(f"{title}: {about}", rows, "speed of predict, Mpx/s"),
    )


def _property(name: str, results: Results) -> Figure | None:
    groups = results.factor(name)
    if not groups:
        return None
    stage, rows = PROPERTIES[name], []
    for group in groups:
        for each in sorted(group, key=lambda m: getattr(m.setting, name)):
            mean = each.stages[stage]
            low, high = (mean.low, mean.high) if mean.count > 1 else (None, None)
            what = f"{each.setting.segmenter}, " if len(groups) > 1 else ""
            value, said = f"{what}{valued(name, each)}", seconds(mean.value)
            rows.append(Bar(value, {"time": mean.value}, low, high, said))
    title = {"kept": "Density of objects", "channels": "Channels"}[name]
    how = {
        "kept": "Objects of the truth are taken out and filled with the background beside them",
        "channels": "The image's channels are repeated; the segmenter takes its own of them",
    }[name]
    about = f"{groups[0][0].setting.segmenter}, {_mpx(groups[0][0])}"
    return Figure(
        name,
        title,
        f"Wall time of `{stage}` for an image at steady state, {about}. {how}. Lines: 95 % "
        "intervals of the mean.",
        bars(f"{title}: {about}", rows, f"wall time of {stage}, s"),
    )


def _mpx(measured: Measured) -> str:
    return f"{number(measured.pixels / 1e6)} Mpx"
