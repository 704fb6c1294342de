"""Rows of a benchmark as it would have measured them, with laws that are known."""

import numpy as np

from cellmill.benchmark.conditions import Condition
from cellmill.benchmark.rows import Found, Subject, repeat_names, rows_of
from cellmill.models.card import ModelCard, known_cards
from cellmill.models.shipped import default_model

CPU = {"cpus": 4, "cpu_model": "Some CPU", "memory_bytes": 8 << 30, "platform": "x", "python": "3"}
T4 = "europe-west4/n1-standard-8/NVIDIA_TESLA_T4:1/"
E2 = "europe-west4/e2-standard-4//"


def record(stage, seconds, *, peak=1 << 28, machine=CPU, steps=(), notes=None, gpu=None, load=0.0):
    """A stage's record; the first of `seconds` is the warm-up's."""
    images = [
        {
            "name": name,
            "status": "ok",
            "wall_s": spent,
            "cpu_s": 2 * spent,
            "steps": [{"name": s, "wall_s": spent * f, "cpu_s": spent * f} for s, f in steps],
        }
        for name, spent in zip(repeat_names(len(seconds) - 1), seconds, strict=True)
    ]
    inside = float(sum(seconds))
    loads = [{"name": "load model", "wall_s": load, "cpu_s": load}] if load else []
    return {
        "stage": stage,
        "version": "0.1.0",
        "image": "imaging",
        "started": "2026-11-29T03:00:00.000+00:00",
        "libraries": {"numpy": "2.2.6"},
        "images": images,
        "steps": loads,
        "totals": {
            "start_wall_s": 0.5,
            "start_cpu_s": 0.4,
            "import_wall_s": load / 4,
            "import_cpu_s": load / 4,
            "wall_s": inside + load + 0.125,
            "cpu_s": 2 * inside + load + 0.125,
            "peak_rss_bytes": peak,
            "bytes_read": 1000,
            "bytes_written": 2000,
        },
        "machine": {"load": 1.0, "rented": "", **machine},
        "gpu": gpu,
        "notes": notes or {},
    }


def rows(
    side,
    seconds,
    *,
    run="r",
    condition="c01",
    segmenter="cellmill-nuclei",
    sweep="size",
    engine="openvino",
    device="cpu",
    batch_size=8,
    machine=CPU,
    gpu=None,
    f1=0.9,
    peak=1 << 28,
    kept=1.0,
    channels=1,
):
    """Rows of one condition: `seconds` by stage, the first of each the warm-up's."""
    asked = Condition(
        run=run,
        condition=condition,
        sweep=sweep,
        round=1,
        segmenter=segmenter,
        model=segmenter,
        digest="",
        side=side,
        repeats=len(seconds["predict"]) - 1,
        batch_size=batch_size,
        kept=kept,
    )
    cards = {"cellmill-nuclei": ModelCard.load(default_model()), **known_cards()}
    network = {"engine": engine, "device": device, "batch_size": batch_size}
    found = [
        record("preprocess", seconds["preprocess"], machine=machine),
        record(
            "predict",
            seconds["predict"],
            machine=machine,
            notes=network if engine else {},
            load=2.0 if engine else 0.0,
            gpu=gpu,
            peak=peak,
        ),
        record(
            "postprocess",
            seconds["postprocess"],
            machine=machine,
            steps=[("segment", 0.75), ("write", 0.25)],
            notes={"segmentation": {"nuclear": {"method": "deep_watershed"}}},
        ),
    ]
    scores = {
        "n_truth": 10,
        "panoptic_quality": 0.8,
        "matching": [{"iou_threshold": 0.5, "f1": f1, "average_precision": f1 / (2 - f1)}],
    }
    subject = Subject("sample", (side, side), channels, side > 512)
    return rows_of(asked, subject, cards[segmenter], found, Found(11, scores))


def noisy(seconds, rng, repeats=5, noise=0.01):
    """A warm-up of ten times as long, then repeats with noise."""
    return [10 * seconds, *(seconds * np.exp(noise * rng.standard_normal(repeats)))]


def sweep(exponents, sides=(256, 512, 1024, 2048), *, scale=1.0, noise=0.01, seed=0, **more):
    """Rows of a size sweep in which each stage takes `scale * Mpx ** exponent` seconds."""
    rng = np.random.default_rng(seed)
    found = []
    for index, side in enumerate(sides):
        mpx = side * side / 1e6
        times = {
            s: noisy(scale * factor * mpx**power, rng, noise=noise)
            for s, (factor, power) in exponents.items()
        }
        name = f"{more.get('segmenter', 'n')}-{more.get('device', 'cpu')}-{index}"
        found += rows(side, times, condition=name, peak=(100 << 20) + 50 * side * side, **more)
    return found


#: Prediction dominates, grows in proportion; post-processing grows faster.
LAWS = {"preprocess": (0.01, 1.0), "predict": (0.5, 1.0), "postprocess": (0.05, 1.3)}
