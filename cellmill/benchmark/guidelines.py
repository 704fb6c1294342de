"""Sentences that a run's own data carry, each beside the figure that shows it.

A sentence that compares is written only where the intervals of the two lie apart. What was measured
and cannot be told apart is said to be so; what was not measured is not spoken of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from cellmill.benchmark.results import Grown, Measured, Results, kept_text, labels
from cellmill.benchmark.statistics import Growth, Mean
from cellmill.reporting.costs import dollars
from cellmill.reporting.text import number, percent, seconds, size

#: An exponent whose interval is wider says nothing.
WIDEST = 0.5
#: An exponent is one of proportion where its whole interval is no farther from 1.
PROPORTIONAL = 0.1
#: Factors that are compared one at a time, as people call their values.
FACTORS = {
    "engine": "engine {}",
    "precision": "{}",
    "batch_size": "batch size {}",
    "tile_px": "tiles of {} px",
}
#: What asks for them in `make run` and the like.
SETTINGS = {"engine": "ENGINE", "precision": "PRECISION", "batch_size": "BATCH_SIZE"}

#: Properties of an image that are varied one at a time, and the stage whose time they may change.
PROPERTIES = {"kept": "postprocess", "channels": "preprocess"}


@dataclass(frozen=True)
class Guideline:
    """A sentence.

    Attributes:
        figure: name of the figure that it stands beside.
        text: the sentence.
        carried: whether the data carry a guideline; else the text says what they leave open.
    """

    figure: str
    text: str
    carried: bool = True


def guidelines(results: Results) -> list[Guideline]:
    """Write what a table's results carry, and what was compared and is left open."""
    found: list[Guideline] = []
    sizes = results.sizes()
    names = labels([grown.setting for grown in sizes])
    for grown in sizes:
        found += _of_one(grown, names[grown.setting])
    for rule in (_factors, _properties, _devices, _machines, _segmenters):
        found += rule(results)
    return found


def _of_one(grown: Grown, name: str) -> Iterator[Guideline]:
    largest = grown.sizes[-1]
    yield from _dominates(largest, name)
    yield from _beginning(largest, name)
    yield from _thousand(largest, name)
    figures = {"predict": "inference_time", "postprocess": "postprocessing_time"}
    for stage, found in grown.stages.items():
        # A stage that hands the image on, having no network, says nothing of networks.
        if stage in figures and (stage != "predict" or grown.setting.engine):
            yield from _grows(figures[stage], f"{name}: `{stage}`", found)
    yield from _grows("total_time_log", f"{name}: an image", grown.total)
    yield from _memory(grown, name)


def _dominates(measured: Measured, name: str) -> Iterator[Guideline]:
    ordered = sorted(measured.stages, key=lambda stage: -measured.stages[stage].value)
    if len(ordered) < 2:
        return
    first, second = ordered[:2]
    longest, next_longest = measured.stages[first], measured.stages[second]
    total = sum(each.value for each in measured.stages.values())
    if not next_longest.below(longest):
        yield Guideline(
            "stages",
            f"{name}, {_sized(measured)}: whether `{first}` or `{second}` takes longer is not "
            "certain.",
            carried=False,
        )
        return
    text = (
        f"{name}, {_sized(measured)}: `{first}` dominates with {percent(longest.value / total)} of "
        f"an image's time ({_mean(longest)}), `{second}` comes next with "
        f"{percent(next_longest.value / total)}."
    )
    inside = {step: spent for (stage, step), spent in measured.steps.items() if stage == first}
    if len(inside) > 1:
        step = max(inside, key=lambda each: inside[each])
        text += f" Inside `{first}`, {step} takes {percent(inside[step] / longest.value)}."
    gain = total / (total - longest.value)
    text += (
        f" What is spent on a faster `{first}` pays first; were it free, an image would be done "
        f"{number(gain)} times as fast, no more."
    )
    yield Guideline("stages", text)


def _beginning(measured: Measured, name: str) -> Iterator[Guideline]:
    """Whether starting, importing and loading outweigh an image."""
    begin = sum(
        spent
        for (_, phase), spent in measured.phases.items()
        if phase in ("start", "import", "load")
    )
    if begin <= measured.total.high or not math.isfinite(measured.total.high):
        return
    images = math.ceil(9 * begin / measured.total.value)
    yield Guideline(
        "stages",
        f"{name}, {_sized(measured)}: starting the stages, importing and loading the model take "
        f"{seconds(begin)}, {number(begin / measured.total.value)} times an image. Send at least "
        f"{number(images)} images of this size in a batch, so that they are under a tenth.",
    )


def _thousand(measured: Measured, name: str) -> Iterator[Guideline]:
    """How long a thousand images take, one after the other."""
    total = measured.total
    if not math.isfinite(total.high) or total.low <= 0:
        return
    if measured.busy:
        text = (
            f"{name}: how long a thousand images take is not said, since other work ran beside "
            "it; measure on a quiet machine before you plan."
        )
        yield Guideline("total_time", text, carried=False)
        return
    yield Guideline(
        "total_time",
        f"{name}: plan {seconds(1000 * total.value)} for a thousand images of {_sized(measured)}, "
        f"one after the other ({seconds(1000 * total.low)} to {seconds(1000 * total.high)}); an "
        f"hour does {number(3600 * measured.pixels / 1e9 / total.value)} gigapixels of them.",
    )


def _grows(figure: str, what: str, found: Growth | None) -> Iterator[Guideline]:
    if found is None:
        return
    carried = True
    if found.high - found.low > WIDEST:
        carried, meaning = False, "too wide to tell how it goes on; larger SIDES narrow it"
    elif found.low > 1:
        meaning = f"twice the pixels take {number(2**found.exponent)} times as long"
    elif found.high < 1:
        meaning = "larger images take less time a pixel"
    elif max(1 - found.low, found.high - 1) <= PROPORTIONAL:
        meaning = "in proportion to the pixels"
    else:
        carried, meaning = False, "whether in proportion to the pixels is not certain"
    text = (
        f"{what} grows over {found.sizes} sizes by pixels to the power {found.exponent:.2f}, "
        f"interval {found.low:.2f} to {found.high:.2f}: {meaning}."
    )
    yield Guideline(figure, text, carried)


def _memory(grown: Grown, name: str) -> Iterator[Guideline]:
    found = grown.memory
    if found is None:
        return
    if found.per_pixel_low <= 0:
        text = (
            f"{name}: over these sizes the memory of `{grown.largest_stage}`, the largest stage, "
            "does not grow beyond what else moves it."
        )
        yield Guideline("memory", text, carried=False)
        return
    slope = (
        f"{number(found.per_pixel)} B a pixel ({number(found.per_pixel_low)} to "
        f"{number(found.per_pixel_high)})"
    )
    largest = grown.sizes[-1]
    yield Guideline(
        "memory",
        f"{name}: `{grown.largest_stage}`, the largest stage, holds {size(largest.peak)} at "
        f"{_sized(largest)}: plan that for each image that is worked on at the same time. Over "
        f"these sizes it grows by {slope} above {size(max(0.0, found.base))}.",
    )


def _factors(results: Results) -> Iterator[Guideline]:
    for name, words in FACTORS.items():
        for group in results.factor(name):
            yield from _best(
                name,
                [(words.format(getattr(each.setting, name)), each) for each in group],
                lambda each: each.stages["predict"],
                f"`predict` of {group[0].setting.segmenter}, {_sized(group[0])}",
                partial(_asked, name),
            )


def _asked(name: str, measured: Measured) -> str:
    """The setting of a run that asks for a factor's value; empty where none does."""
    setting = SETTINGS.get(name)
    return f"{setting}={getattr(measured.setting, name)}" if setting else ""


def _best(
    figure: str,
    named: Sequence[tuple[str, Measured]],
    value: Callable[[Measured], Mean],
    what: str,
    asked: Callable[[Measured], str],
) -> Iterator[Guideline]:
    """Say which is fastest, where its interval lies below those of others; how to ask for it."""
    ordered = sorted(named, key=lambda each: value(each[1]).value)
    (best, first), rest = ordered[0], ordered[1:]
    fastest = value(first)
    if any(each.busy for _, each in ordered):
        yield _beside(figure, what, [n for n, _ in ordered])
        return
    slower = [(n, each) for n, each in rest if fastest.below(value(each))]
    equal = [n for n, each in rest if not fastest.below(value(each))]
    if not slower:
        names = " and ".join(n for n, _ in ordered)
        text = f"{what}: {names} cannot be told apart."
        yield Guideline(figure, text, carried=False)
        return
    behind = "; ".join(
        f"{n} takes {number(value(each).value / fastest.value)} times as long" for n, each in slower
    )
    said = f" (`{asked(first)}`)" if asked(first) else ""
    text = f"{what}: take {best}{said}, {_mean(fastest)}; {behind}"
    if equal:
        text += f"; {' and '.join(equal)} cannot be told from it"
    yield Guideline(figure, f"{text}.")


def valued(name: str, measured: Measured) -> str:
    """A property's value of what was measured, as people read it."""
    if name == "kept":
        found = "" if measured.objects is None else f" ({number(measured.objects)} found)"
        return kept_text(measured.setting.kept) + found
    count = measured.setting.channels
    return f"{number(count)} channel" + "s" * (count != 1)


def _properties(results: Results) -> Iterator[Guideline]:
    """What fewer objects or more channels change, between the two ends that were measured."""
    for name, stage in PROPERTIES.items():
        for group in results.factor(name):
            ordered = sorted(group, key=lambda each: getattr(each.setting, name))
            few, many = ordered[0], ordered[-1]
            what = f"`{stage}` of {few.setting.segmenter}, {_sized(few)}"
            ends = [valued(name, few), valued(name, many)]
            if few.busy or many.busy:
                yield _beside(name, what, ends)
                continue
            less, more = few.stages[stage], many.stages[stage]
            if not (less.below(more) or more.below(less)):
                text = f"{what}: with {ends[0]} and with {ends[1]} it cannot be told apart."
                yield Guideline(name, text, carried=False)
                continue
            times = number(more.value / less.value)
            share = percent(more.value / many.total.value)
            yield Guideline(
                name,
                f"{what}: with {ends[1]} it takes {times} times as long as with {ends[0]} "
                f"({_mean(more)} against {_mean(less)}), {share} of an image's time.",
            )


def _devices(results: Results) -> Iterator[Guideline]:
    """From which size on a GPU pays."""
    pairs = device_pairs(results)
    for name, found in pairs.items():
        pays = [gpu.total.below(cpu.total) for cpu, gpu in found]
        first = next((i for i in range(len(pays)) if all(pays[i:])), None)
        if any(each.busy for pair in found for each in pair):
            yield _beside("gpu_improvement", name, ["CPU", "GPU"])
            continue
        if first is None:
            text = f"{name}: up to {_sized(found[-1][0])} the GPU is not certainly faster."
            yield Guideline("gpu_improvement", text, carried=False)
            continue
        cpu, gpu = found[first]
        where = "at every size measured" if first == 0 else f"from {_sized(cpu)} on"
        gain = 1 - found[-1][1].total.value / found[-1][0].total.value
        text = (
            f"{name}: {where} the GPU takes less time for an image ({_mean(gpu.total)} against "
            f"{_mean(cpu.total)} at {_sized(cpu)}); at {_sized(found[-1][0])} {percent(gain)} less."
        )
        once = [g.first < c.first for c, g in found]
        # A sign test: by chance alone 1 in 32.
        if len(once) >= 5 and not any(once):
            text += " A single image, its start included, is done sooner on the CPU at all of them."
        yield Guideline("gpu_improvement", text)


def device_pairs(results: Results) -> dict[str, list[tuple[Measured, Measured]]]:
    """What ran on a CPU and on a GPU, by segmenter, in order of size: `(cpu, gpu)`."""
    found: dict[str, list[tuple[Measured, Measured]]] = {}
    for group in results.factor("device"):
        by_device = {each.setting.device: each for each in group}
        if {"cpu", "gpu"} <= by_device.keys():
            name = group[0].setting.segmenter
            found.setdefault(name, []).append((by_device["cpu"], by_device["gpu"]))
    return {n: sorted(pairs, key=lambda pair: pair[0].pixels) for n, pairs in found.items()}


def _machines(results: Results) -> Iterator[Guideline]:
    largest: dict[str, list[Measured]] = {}
    for group in results.factor("machine"):
        name = group[0].setting.segmenter
        if group[0].pixels >= largest.get(name, group)[0].pixels:
            largest[name] = group
    for group in largest.values():
        priced = [(each, each.usd_per_gigapixel(results.prices)) for each in group]
        cheapest_of: dict[str, tuple[Measured, Mean]] = {}
        for each, price in sorted(((m, c) for m, c in priced if c), key=lambda pair: pair[1].value):
            cheapest_of.setdefault(each.setting.machine, (each, price))
        known = list(cheapest_of.values())
        if len(known) < 2:
            continue
        (cheapest, least), (following, more) = known[:2]
        what = f"{cheapest.setting.segmenter}, {_sized(cheapest)}"
        names = f"{cheapest.setting.machine} and {following.setting.machine}"
        if cheapest.busy or following.busy:
            yield _beside("cost", what, [cheapest.setting.machine, following.setting.machine])
            continue
        if not least.below(more):
            text = f"{what}: {names} cannot be told apart by their cost."
            yield Guideline("cost", text, carried=False)
            continue
        yield Guideline(
            "cost",
            f"{what}: {cheapest.setting.machine} is the cheapest, {dollars(least.value)} a "
            f"gigapixel; {following.setting.machine} costs {number(more.value / least.value)} "
            "times as much.",
        )


def _segmenters(results: Results) -> Iterator[Guideline]:
    """The faster of two segmenters, and what it costs in F1."""
    for group in results.segmenters():
        ordered = sorted(group, key=lambda each: each.total.value)
        for fast, slow in pairwise(ordered):
            if fast.f1_50 is None or slow.f1_50 is None:
                continue
            both = [fast.setting.segmenter, slow.setting.segmenter]
            names = " and ".join(both)
            if fast.busy or slow.busy:
                yield _beside("accuracy", _sized(fast), both)
                continue
            if not fast.total.below(slow.total):
                text = f"{_sized(fast)}: {names} cannot be told apart by their time."
                yield Guideline("accuracy", text, carried=False)
                continue
            yield Guideline(
                "accuracy",
                f"{_sized(fast)}: {fast.setting.segmenter} is "
                f"{number(slow.total.value / fast.total.value)} times as fast as "
                f"{slow.setting.segmenter}; F1 at IoU 0.5 is {fast.f1_50:.3f} against "
                f"{slow.f1_50:.3f} on this one image.",
            )


def _beside(figure: str, what: str, names: Sequence[str]) -> Guideline:
    """Say that what was measured one after the other is not compared, since the load changed."""
    text = f"{what}: {' and '.join(names)} are not compared, since other work ran beside them."
    return Guideline(figure, text, carried=False)


def _sized(measured: Measured) -> str:
    return f"{number(measured.shape[1])} × {number(measured.shape[0])} px"


def _mean(mean: Mean) -> str:
    """A mean of seconds and its standard deviation."""
    return f"{seconds(mean.value)} ± {seconds(mean.sd) if mean.sd else '0'}"
