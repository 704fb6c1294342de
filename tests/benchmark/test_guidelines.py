"""Sentences are those that the data carry: known laws are found, and noise says nothing."""

import re

import pytest

from cellmill.benchmark.guidelines import _grows, guidelines
from cellmill.benchmark.page import Report, _notes_on_objects
from cellmill.benchmark.regressions import compare
from cellmill.benchmark.results import results_of
from cellmill.benchmark.statistics import Growth
from tests.benchmark.tables import CPU, E2, LAWS, T4, rows, sweep


def said(table, figure, carried=True, **more):
    found = guidelines(results_of(table, **more))
    return [g.text for g in found if g.figure == figure and g.carried == carried]


def test_what_dominates_and_what_comes_next():
    (first, beginning) = said(sweep(LAWS), "stages")
    assert first.startswith("cellmill-nuclei, 2,048 × 2,048 px: `predict` dominates with 8")
    assert "`postprocess` comes next" in first
    share = float(re.search(r"with (\d[\d.]*) %", first)[1])
    assert share == pytest.approx(100 * 2.097 / (2.097 + 0.05 * 4.194**1.3 + 0.042), abs=1.5)
    assert "starting the stages" in beginning


def test_a_thousand_images_are_planned_for():
    (text,) = said(sweep(LAWS, noise=0.001), "total_time")
    assert text.startswith("cellmill-nuclei: plan 4")
    assert "for a thousand images of 2,048 × 2,048 px" in text
    hour = float(re.search(r"an hour does ([\d.]+) gigapixels", text)[1])
    assert hour == pytest.approx(3.6 * 4.194 / (2.097 + 0.05 * 4.194**1.3 + 0.042), rel=0.01)
    crowded = [{**row, "load": 99.0} for row in sweep(LAWS, noise=0.001)]
    assert not said(crowded, "total_time"), "no plan is made of what other work delayed"


def test_the_page_says_where_nothing_was_found_and_where_objects_lie_unevenly():
    table = sweep(LAWS, noise=0.001)

    def notes(found):
        counted = [{**row, "objects": found(row["pixels"])} for row in table]
        return " ".join(_notes_on_objects(results_of(counted)))

    assert not notes(lambda pixels: pixels // 5000)
    assert "found no object at 4 of 4 sizes" in notes(lambda pixels: 0)
    assert "26.2 to 153 objects a Mpx" in notes(lambda pixels: 10 + 100 * (pixels > 1e6))


def test_what_cannot_be_told_apart_is_not_said():
    equal = {"preprocess": (0.3, 1.0), "predict": (0.3, 1.0), "postprocess": (0.3, 1.0)}
    table = sweep(equal, noise=0.2)
    assert not any("dominates" in text for text in said(table, "stages"))
    assert any("is not certain" in text for text in said(table, "stages", carried=False))


def test_growth_is_told_by_its_interval():
    table = sweep(LAWS, noise=0.001)
    (predict,) = said(table, "inference_time")
    (post,) = said(table, "postprocessing_time")
    assert "to the power 1.00" in predict
    assert "in proportion" in predict
    assert predict.endswith(": in proportion to the pixels.")
    assert "to the power 1.30" in post
    assert "twice the pixels take 2.46 times as long" in post
    noisy = sweep(LAWS, sides=(256, 300, 350), noise=0.5)
    assert not said(noisy, "postprocessing_time")
    assert "too wide" in said(noisy, "postprocessing_time", carried=False)[0]
    assert not said(sweep(LAWS, sides=(256, 512)), "inference_time"), "two sizes carry nothing"


@pytest.mark.parametrize(
    ("low", "high", "ends", "carried"),
    [
        (0.95, 1.06, "in proportion to the pixels.", True),
        (0.58, 1.04, "whether in proportion to the pixels is not certain.", False),
        (0.60, 0.90, "larger images take less time a pixel.", True),
    ],
)
def test_growth_is_called_proportional_where_no_other_is_likely(low, high, ends, carried):
    growth = Growth((low + high) / 2, low, high, 1.0, 4, 0.0, 0.0, 0.0, 0.0)
    (found,) = _grows("figure", "`predict`", growth)
    assert found.text.endswith(f"interval {low:.2f} to {high:.2f}: {ends}")
    assert found.carried == carried


def test_memory_by_the_pixel():
    (text,) = said(sweep(LAWS), "memory")
    assert "grows by 50 B a pixel" in text
    assert "`predict`, the largest stage" in text
    assert text.endswith("above 100 MiB.")


def batches(seconds):
    found = []
    for index, (size, spent) in enumerate(seconds.items()):
        times = {"preprocess": [1, 1, 1, 1], "postprocess": [1, 1, 1, 1]}
        times["predict"] = [9, spent, spent * 1.01, spent * 0.99]
        name = f"c{index}"
        found += rows(512, times, condition=name, sweep="batch_size", batch_size=size)
    return found


def test_the_batch_size_to_take_is_named_only_where_it_is_faster_beyond_noise():
    (text,) = said(batches({8: 1.0, 1: 1.5, 32: 1.001}), "batch_size")
    assert "take batch size 8 (`BATCH_SIZE=8`), " in text
    assert "batch size 1 takes 1.5 times as long" in text
    assert "batch size 32 cannot be told from it" in text
    assert not said(batches({8: 1.0, 32: 1.002}), "batch_size")
    assert said(batches({8: 1.0, 32: 1.002}), "batch_size", carried=False)
    assert not said(batches({8: 1.0}), "batch_size", carried=False), "nothing was compared"


GPU = {"name": "Tesla T4", "peak_memory_bytes": 1 << 30}


def test_a_gpu_pays_from_the_size_at_which_it_is_faster():
    slow_start = {**LAWS, "predict": (0.2, 0.5)}
    table = sweep(LAWS) + sweep(slow_start, device="gpu", engine="tensorflow", gpu=GPU, seed=5)
    (text,) = said(table, "gpu_improvement")
    assert "from 512 × 512 px on the GPU takes less time" in text
    assert not said(sweep(LAWS), "gpu_improvement"), "no GPU, no word of one"
    same = sweep(LAWS, noise=0.1) + sweep(LAWS, noise=0.1, device="gpu", gpu=GPU, seed=7)
    assert not said(same, "gpu_improvement")


def test_the_cheapest_machine_by_the_table_of_prices_and_by_ones_own():
    rented = [({**CPU, "rented": E2, "cpus": 4}, 1.0), ({**CPU, "rented": T4, "cpus": 8}, 0.1)]
    table = []
    for machine, scale in rented:
        name = machine["rented"]
        table += sweep(LAWS, machine=machine, scale=scale, run=name)
    (text,) = said(table, "cost")
    assert "n1-standard-8 + NVIDIA_TESLA_T4:1 is the cheapest" in text
    # Another engine at one size is another question.
    other = rows(
        2048,
        {"preprocess": [1, 0.001], "predict": [1, 0.001], "postprocess": [1, 0.001]},
        machine=rented[1][0],
        engine="tensorflow",
        sweep="engine",
        condition="engine",
    )
    assert said(table + other, "cost") == [text]
    dear = {"n1-standard-8 + NVIDIA_TESLA_T4:1": 100.0}
    (text,) = said(table, "cost", prices=dear)
    assert "e2-standard-4 is the cheapest" in text
    assert not said(sweep(LAWS), "cost"), "a machine without a price costs nothing known"


def test_cost_of_a_gigapixel_is_seconds_by_the_price():
    times = {"preprocess": [1, 1, 1], "predict": [1, 2, 2], "postprocess": [1, 1, 1]}
    name = "Some CPU × 4"
    (measured,) = results_of(rows(1000, times), {name: 3.6}).measured
    cost = measured.usd_per_gigapixel({name: 3.6})
    assert cost.value == pytest.approx(4 * 1000 * 3.6 / 3600)
    assert measured.usd_per_gigapixel({}) is None


def test_speed_against_accuracy():
    table = sweep(LAWS) + sweep(
        LAWS, scale=0.2, segmenter="voronoi_otsu", engine="", f1=0.7, seed=3
    )
    (text,) = said(table, "accuracy")
    assert "voronoi_otsu is 4.99 times as fast as cellmill-nuclei" in text
    assert "0.700 against 0.900" in text
    figures = {f.name for f in Report.of(table).figures}
    assert {"stages", "steps", "accuracy", "memory", "inference_time", "total_time_log"} <= figures
    assert "gpu_improvement" not in figures


def test_a_regression_beyond_noise_is_named_and_noise_is_not():
    old = results_of(sweep(LAWS, noise=0.02))
    slower = {**LAWS, "postprocess": (0.06, 1.3)}
    found = compare(results_of(sweep(slower, noise=0.02, run="new", seed=9)), old)
    assert [(c.segmenter, c.stage) for c in found.regressions] == [
        ("cellmill-nuclei", "postprocess")
    ]
    same = compare(results_of(sweep(LAWS, noise=0.02, run="new", seed=9)), old)
    assert not same.regressions
    assert {c.verdict for c in same.changes} == {"no change beyond noise"}
    assert not same.unpaired


def test_what_was_measured_beside_other_work_is_no_regression():
    old = results_of(sweep(LAWS, noise=0.02))
    slower = {**LAWS, "postprocess": (0.06, 1.3)}
    busy = [{**row, "load": 40.0} for row in sweep(slower, noise=0.02, run="new", seed=9)]
    found = compare(results_of(busy), old)
    assert not found.changes
    assert found.unpaired == (
        "4 of 4 conditions are not compared, since other work ran beside them."
    )


def test_other_machines_and_sizes_are_not_compared_and_that_is_said():
    old = results_of(sweep(LAWS, machine={**CPU, "cpus": 64}))
    found = compare(results_of(sweep(LAWS)), old)
    assert not found.changes
    assert found.unpaired.startswith("4 of 4 conditions are not in the baseline")


def test_memory_that_grows_is_a_regression():
    old = sweep(LAWS, noise=0.02)
    new = [
        {
            **r,
            "run": "new",
            "peak_rss_bytes": r.get("peak_rss_bytes") and int(r["peak_rss_bytes"] * 1.2),
        }
        for r in old
    ]
    found = compare(results_of(new), results_of(old))
    assert found.regressions
    assert all(c.memory_grew and c.verdict != "slower" for c in found.regressions)


def test_what_ran_beside_other_work_is_not_compared():
    def busy(table):
        return [{**row, "load": 9.0} for row in table]

    table = busy(batches({8: 1.0, 1: 1.5}))
    assert not said(table, "batch_size")
    assert "other work ran beside them" in said(table, "batch_size", carried=False)[0]
    both = sweep(LAWS) + sweep(LAWS, scale=0.2, segmenter="voronoi_otsu", engine="", seed=3)
    assert said(both, "accuracy")
    assert not said(busy(both), "accuracy")


def test_what_differs_from_process_to_process_is_in_the_interval():
    """Two processes whose repeats agree, each with itself: no difference of theirs is one."""
    table = []
    for turn, factor in enumerate((1.0, 1.4)):
        for row in batches({8: factor, 1: 1.5 * factor}):
            table.append({**row, "run": str(turn)})
    assert not said(table, "batch_size")
    assert said(batches({8: 1.0, 1: 1.5}), "batch_size")


@pytest.mark.parametrize(
    ("name", "values", "stage", "words"),
    [
        ("kept", (0.25, 1.0), "postprocess", "with all objects (11 found) it takes 3 times"),
        ("channels", (1, 8), "preprocess", "with 8 channels it takes 3 times"),
    ],
)
def test_what_density_and_channels_change_is_said_beyond_noise(name, values, stage, words):
    times = {each: [9.0, 1.0, 1.01, 0.99] for each in ("preprocess", "predict", "postprocess")}
    slow = {**times, stage: [9.0, 3.0, 3.01, 2.99]}

    def told(second):
        table = rows(512, times, condition="a", **{name: values[0]})
        table += rows(512, second, condition="b", sweep=name, **{name: values[1]})
        report = Report.of(table)
        assert name in {figure.name for figure in report.figures}
        return [g for g in report.guidelines if g.figure == name]

    (found,) = told(slow)
    assert found.carried
    assert words in found.text
    (same,) = told(times)
    assert not same.carried
    assert "cannot be told apart" in same.text
