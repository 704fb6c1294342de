"""Kills stages at random moments, starts them again, and checks that nothing differs in the end.

`python -m tests.chaos [--kills 100] [--seed 0] [--shape 4300x6200]`

Every stage of a slide is run once undisturbed. Then each is started anew, in another folder, and
killed (SIGKILL) at moments drawn from the time that it took, over and over, until it has had its
share of the kills; then it may end. What it leaves must equal what the undisturbed run left: every
array, every measurement, every score.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tifffile

from bench.mosaic import write_mosaic
from cellmill.arrays.batch import Batch
from launch.paths import ROOT

_ARRAYS = ("images", "truth", "plan", "labels", "preprocessed", "predictions", "labels_whole")
#: A stage that took no time is killed within its first seconds.
_LEAST_SECONDS = 2.0


def stages(source: Path, folder: Path, shards: int) -> Iterator[tuple[str, list[str]]]:
    """The stages of a slide in order, sharded and whole: a name and the command's arguments."""

    def at(*names: str, **others: str | int) -> list[str]:
        """Flags: an artifact of a name lies under that name; the others as given."""
        flags = {name: str(folder / name) for name in names}
        flags |= {name: str(value) for name, value in others.items()}
        return [x for k, v in flags.items() for x in (f"--{k.replace('_', '-')}", v)]

    def each(name: str, **parts: list[Path]) -> list[str]:
        """A flag with several values."""
        return [f"--{name.replace('_', '-')}", *map(str, parts[name])]

    item = {"image": str(source / "mosaic.ome.tif"), "truth": str(source / "mosaic_truth.tif")}
    store = str(folder / "store")
    opened = at("images", "truth", items=json.dumps([item]), container="zarr", store=store)
    yield "tiff_to_npz", opened
    yield "fetch_model", at("model")
    yield "plan_slide", at("images", "model", "plan", store=store, most_shards=4)
    predicted = [folder / f"predicted-{k}" for k in range(shards)]
    predict_records = [folder / f"predicted-{k}.json" for k in range(shards)]
    for k in range(shards):
        mine = {"predicted": str(predicted[k]), "record": str(predict_records[k]), "shard": k}
        yield "predict_shard", at("images", "model", "plan", **mine)
    lists = each("predicted", predicted=predicted)
    lists += each("predict_records", predict_records=predict_records)
    yield "plan_watershed", [*at("plan", "watershed", "predict_record"), *lists]
    segmented = [folder / f"segmented-{k}" for k in range(shards)]
    segment_records = [folder / f"segmented-{k}.json" for k in range(shards)]
    for k in range(shards):
        mine = {"segmented": str(segmented[k]), "record": str(segment_records[k]), "shard": k}
        yield "segment_shard", at("watershed", **mine)
    lists = each("segmented", segmented=segmented)
    lists += each("segment_records", segment_records=segment_records)
    yield "stitch", [*at("watershed", "labels", "segment_record"), *lists]
    yield "export_labels", [*at("labels", "label_images"), "--ome-zarr"]
    yield "measure", at("images", "labels", "measurements")
    yield "metrics", at("labels", "truth", "metrics", "scores")
    yield "preprocess", at("images", "model", "preprocessed")
    yield "predict", at("preprocessed", "model", "predictions")
    whole = {"labels": str(folder / "labels_whole"), "memory_mib": 512}
    yield "postprocess", at("predictions", **whole)


def start(stage: str, arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a stage as a user does by hand."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "cellmill", stage, *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )


def finished(stage: str, arguments: Sequence[str], log: Path) -> float:
    """Run a stage to its end; how long it took, in seconds."""
    begun = time.monotonic()
    if code := start(stage, arguments, log).wait():
        raise SystemExit(f"chaos: {stage} ended with {code}:\n{log.read_text()[-2000:]}")
    return time.monotonic() - begun


def killed(stage: str, arguments: Sequence[str], log: Path, after: float) -> bool:
    """Start a stage and kill it after some seconds; whether it still ran."""
    process = start(stage, arguments, log)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    if process.returncode:
        raise SystemExit(f"chaos: {stage} ended with {process.returncode}:\n{log.read_text()}")
    return False


def differences(one: Path, other: Path) -> list[str]:
    """What two folders of results differ in: arrays, tables, scores, label images."""
    found = []
    batches = [(name, one / name, other / name) for name in _ARRAYS]
    batches.append(("sharded and whole labels", one / "labels", one / "labels_whole"))
    for name, folder, twin_folder in batches:
        ours, theirs = Batch.open(folder), Batch.open(twin_folder)
        for entry, twin in zip(ours.entries, theirs.entries, strict=True):
            for key in entry.arrays:
                if not _equal(ours.read(entry, key), theirs.read(twin, key)):
                    found.append(f"{name}: array '{key}' of '{entry.name}'")
    for name in ("measurements", "scores", "label_images"):
        for path in sorted(p for p in (one / name).rglob("*") if p.is_file()):
            twin_path = other / name / path.relative_to(one / name)
            if path.suffix == ".tif":
                same = np.array_equal(tifffile.imread(path), tifffile.imread(twin_path))
            else:
                same = path.read_bytes() == twin_path.read_bytes()
            if not same:
                found.append(f"{path.relative_to(one)}")
    if (one / "metrics").read_bytes() != (other / "metrics").read_bytes():
        found.append("metrics")
    return found


def _equal(one, other) -> bool:  # type: ignore[no-untyped-def]
    return (one.shape, one.dtype) == (other.shape, other.dtype) and all(
        np.array_equal(one[y : y + 2048], other[y : y + 2048]) for y in range(0, one.shape[0], 2048)
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stages, kill them, compare; 0 if nothing differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shape", default="4300x6200", help="YxX of the mosaic in pixels")
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "chaos")
    given = parser.parse_args(arguments)
    draw = random.Random(given.seed)
    height, width = (int(side) for side in given.shape.split("x"))
    shutil.rmtree(given.output, ignore_errors=True)
    whole, broken = given.output / "undisturbed", given.output / "killed"
    for folder in (whole, broken):
        folder.mkdir(parents=True)
    write_mosaic(given.output / "mosaic", (height, width), empty=0.2)

    seconds: list[float] = []
    shards = 1
    calls: list[tuple[str, list[str]]] = []
    done = 0
    while True:
        calls = [*stages(given.output / "mosaic", whole, shards)]
        if done == len(calls):
            break
        stage, flags = calls[done]
        seconds.append(finished(stage, flags, whole / "log.txt"))
        print(f"{stage}: {seconds[-1]:.1f} s undisturbed", flush=True)
        done += 1
        if stage == "plan_slide":
            (entry,) = Batch.open(whole / "plan").entries
            shards = len(entry.attributes["plan"]["shards"])

    # Longer stages get more of the kills: that is where a machine is lost.
    turns = draw.choices(
        range(len(calls)), [max(s, _LEAST_SECONDS) for s in seconds], k=given.kills
    )
    hits = 0
    calls = [*stages(given.output / "mosaic", broken, shards)]
    for index, (stage, flags) in enumerate(calls):
        wanted = turns.count(index)
        span = max(seconds[index], _LEAST_SECONDS)
        for _ in range(wanted):
            # A stage that ended first is begun anew, and killed earlier.
            while not killed(stage, flags, broken / "log.txt", draw.uniform(0, span)):
                span *= 0.8
            hits += 1
        last = finished(stage, flags, broken / "log.txt")
        print(f"{stage}: {wanted} times started to be killed, then {last:.1f} s", flush=True)
    found = differences(whole, broken)
    print(f"{hits} of {given.kills} kills hit a running stage; {len(found)} results differ")
    for line in found:
        print(f"  {line}")
    if not found:
        shutil.rmtree(given.output)
    return int(bool(found) or not hits)


if __name__ == "__main__":
    raise SystemExit(main())
