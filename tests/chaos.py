"""Kills stages and launchers at random moments, loses files, and checks that nothing differs.

`python -m tests.chaos [--kills 100] [--seed 0] [--shape 4300x6200]`

Every stage of a slide is run once undisturbed. Then each is started anew, in another folder, and
killed (SIGKILL) at moments drawn from the time that it took, over and over, until it has had its
share of the kills; then it may end. Now and then a file of the store is removed meanwhile: whoever
misses it, a stage or the comparison, may refuse to go on, and then the run is begun again from its
first stage. Side by
side with that the launcher is killed, on the same image, and a file of its store removed each time;
its stages have to end with it, and the same command has to go on. What all of them leave must equal
what the undisturbed run left: every array, every measurement, every score.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tifffile

from bench.mosaic import write_mosaic
from cellmill.arrays.batch import Batch
from cellmill.arrays.folder_lock import lock_folder, unlock_folder
from cellmill.errors import BadInput
from launch import ROOT

_ARRAYS = ("images", "truth", "plan", "labels", "preprocessed", "predictions", "labels_whole")
#: A stage that took no time is killed within its first seconds.
_LEAST_SECONDS = 2.0
#: Of so many kills one is a launcher's, and of so many kills of stages one loses a file.
_LAUNCHERS, _LOSSES = 5, 8
#: Seconds in which the stages of a launcher that was killed have to end.
_END = 10.0


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
    yield "plan_segmentation", [*at("plan", "segmentation", "predict_record"), *lists]
    segmented = [folder / f"segmented-{k}" for k in range(shards)]
    segment_records = [folder / f"segmented-{k}.json" for k in range(shards)]
    for k in range(shards):
        mine = {"segmented": str(segmented[k]), "record": str(segment_records[k]), "shard": k}
        yield "segment_shard", at("segmentation", **mine)
    lists = each("segmented", segmented=segmented)
    lists += each("segment_records", segment_records=segment_records)
    yield "stitch", [*at("segmentation", "labels", "segment_record"), *lists]
    yield "export_labels", [*at("labels", "label_images"), "--ome-zarr"]
    yield "measure", at("images", "labels", "measurements")
    yield "metrics", at("labels", "truth", "metrics", "scores")
    yield "preprocess", at("images", "model", "preprocessed")
    yield "predict", at("preprocessed", "model", "predictions")
    whole = {"labels": str(folder / "labels_whole"), "memory_mib": 512}
    yield "postprocess", at("predictions", **whole)


def start(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a module of this clone as a user does by hand."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )


def killed(command: Sequence[str], log: Path, after: float) -> bool:
    """Start something and kill it after some seconds; whether it still ran."""
    process = start(command, log)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    return False


def lose_a_file(store: Path, draw: random.Random) -> str:
    """Remove a file of a store, whichever it is; its name, or nothing where there is none."""
    found = sorted(str(path) for path in store.rglob("*") if path.is_file())
    if not found:
        return ""
    lost = Path(draw.choice(found))
    lost.unlink(missing_ok=True)
    return str(lost.relative_to(store))


class Stages:
    """The stages of a slide in one folder, run in turn.

    Args:
        folder: that they write to.
        calls: a name and the arguments of each.
    """

    def __init__(self, folder: Path, calls: Sequence[tuple[str, list[str]]]) -> None:
        self.folder, self.calls = folder, calls
        self.log = folder / "log.txt"
        self.kills = self.refusals = 0

    def command(self, index: int) -> list[str]:
        """The command of a stage."""
        stage, flags = self.calls[index]
        return ["cellmill", stage, *flags]

    def finish(self, index: int, *, may_refuse: bool = False) -> float:
        """Run a stage to its end; how long it took, in seconds.

        Args:
            index: of the stage.
            may_refuse: whether it may miss a file; then all is begun again.
        """
        begun = time.monotonic()
        code = start(self.command(index), self.log).wait()
        if code == 2 and may_refuse:
            self.begin_again(index)
            return self.finish(index)
        if code:
            stage, said = self.calls[index][0], self.log.read_text()[-2000:]
            raise SystemExit(f"chaos: {stage} ended with {code}:\n{said}")
        return time.monotonic() - begun

    def begin_again(self, stop: int) -> None:
        """Run the stages before one anew, because a file that was lost is missed."""
        self.refusals += 1
        for earlier in range(stop):
            self.finish(earlier)

    def disturb(self, index: int, kills: int, span: float, draw: random.Random) -> list[str]:
        """Kill a stage so many times, at moments within a span; the files that were lost."""
        lost = []
        for _ in range(kills):
            # A stage that ended first is begun anew, and killed earlier.
            while not killed(self.command(index), self.log, draw.uniform(0, span)):
                span *= 0.8
            self.kills += 1
            if self.kills % _LOSSES == _LOSSES // 2:
                lost.append(lose_a_file(self.folder / "store", draw))
        return [name for name in lost if name]


class Launcher(threading.Thread):
    """Kills a launcher so many times, then lets it end.

    Args:
        folder: its `OUTPUT`, `STORE` and log lie there.
        image: a file.
        truth: a file.
        kills: how often.
        span: within how many seconds.
        draw: says when.
    """

    def __init__(
        self, folder: Path, image: Path, truth: Path, kills: int, span: float, draw: random.Random
    ) -> None:
        super().__init__(name="launcher", daemon=True)
        self.output, self.store, self.log = folder / "run", folder / "kept", folder / "log.txt"
        self._kills, self._span, self._draw = kills, span, draw
        given = {"image": image, "truth": truth, "output": self.output, "store": self.store}
        flags = [text for name, value in given.items() for text in (f"--{name}", str(value))]
        self._command = ["launch.run", "slide_segmentation", *flags]
        self.wrong: list[str] = []
        self.lost: list[str] = []

    def run(self) -> None:
        """Kill, lose a file, start again; in the end let it finish."""
        for _ in range(self._kills):
            while not self._killed():
                self._span *= 0.8
                shutil.rmtree(self.output, ignore_errors=True)
            if not self._ended():
                self.wrong.append("stages of a launcher that was killed go on")
            self.lost.append(lose_a_file(self.store, self._draw))
        if code := start(self._command, self.log).wait():
            said = self.log.read_text()[-2000:]
            self.wrong.append(f"the launcher ended with {code}:\n{said}")

    def _killed(self) -> bool:
        """Start it and kill it; whether that came before its run was done, if not yet its process.

        A run that is done is not begun again in its folder.
        """
        if not killed(self._command, self.log, self._draw.uniform(0, self._span)):
            return False
        try:
            status = json.loads((self.output / "run.json").read_text()).get("status")
        except (OSError, ValueError):
            return True
        return status != "succeeded"

    def _ended(self) -> bool:
        """Whether the stages end, which hold the lock of the run's folder."""
        if not self.output.is_dir():
            return True
        try:
            unlock_folder(lock_folder(self.output, _END))
        except BlockingIOError:
            return False
        return True

    def differences(self, whole: Path) -> list[str]:
        """What differs from an undisturbed run of the stages."""
        if self.wrong:
            return self.wrong
        labels = Batch.open(whole / "labels")
        (entry,) = labels.entries
        found = []
        if not _equal(labels.array(entry, "nuclear"), tifffile.imread(self.output / "labels.tif")):
            found.append("labels of the launcher's run")
        for name in ("csv", "parquet"):
            table = whole / "measurements" / f"{entry.name}.{name}"
            if table.read_bytes() != (self.output / f"measurements.{name}").read_bytes():
                found.append(f"measurements.{name} of the launcher's run")
        return found


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


def undisturbed(source: Path, folder: Path) -> tuple[int, list[float]]:
    """Run all stages once; how many shards there are, and how long each stage took."""
    seconds: list[float] = []
    shards = 1
    while True:
        run = Stages(folder, [*stages(source, folder, shards)])
        if len(seconds) == len(run.calls):
            return shards, seconds
        seconds.append(run.finish(len(seconds)))
        stage = run.calls[len(seconds) - 1][0]
        print(f"{stage}: {seconds[-1]:.1f} s undisturbed", flush=True)
        if stage == "plan_slide":
            (entry,) = Batch.open(folder / "plan").entries
            shards = len(entry.attributes["plan"]["shards"])


def disturbed(run: Stages, seconds: Sequence[float], kills: int, draw: random.Random) -> list[str]:
    """Run all stages, killing them so many times in all; the files that were lost meanwhile."""
    # Longer stages get more of the kills: that is where a machine is lost.
    turns = draw.choices(range(len(run.calls)), [max(s, _LEAST_SECONDS) for s in seconds], k=kills)
    lost: list[str] = []
    for index, (stage, _) in enumerate(run.calls):
        wanted = turns.count(index)
        lost += run.disturb(index, wanted, max(seconds[index], _LEAST_SECONDS), draw)
        last = run.finish(index, may_refuse=bool(lost))
        print(f"{stage}: {wanted} times started to be killed, then {last:.1f} s", flush=True)
    return lost


def compared(whole: Path, run: Stages, lost: Sequence[str]) -> list[str]:
    """What differs from the undisturbed run. What was lost after its last reader is missed here."""
    try:
        return differences(whole, run.folder)
    except BadInput as refusal:
        if not lost:
            raise
        print(f"begun again, because a file that was lost is missed: {refusal}")
        run.begin_again(len(run.calls))
        return differences(whole, run.folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stages, kill them, compare; 0 if nothing differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shape", default="4300x6200", help="YxX of the mosaic in pixels")
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "chaos")
    given = parser.parse_args(arguments)
    height, width = (int(side) for side in given.shape.split("x"))
    shutil.rmtree(given.output, ignore_errors=True)
    source, *folders = (
        given.output / name for name in ("mosaic", "undisturbed", "killed", "launched")
    )
    for folder in folders:
        folder.mkdir(parents=True)
    whole, broken, launched = folders
    write_mosaic(source, (height, width), empty=0.2)
    shards, seconds = undisturbed(source, whole)

    launchers = -(-given.kills // _LAUNCHERS)
    image, truth = source / "mosaic.ome.tif", source / "mosaic_truth.tif"
    span, draw = sum(seconds), random.Random(given.seed + 1)
    launcher = Launcher(launched, image, truth, launchers, span, draw)
    launcher.start()
    run = Stages(broken, [*stages(source, broken, shards)])
    lost = disturbed(run, seconds, given.kills - launchers, random.Random(given.seed))
    launcher.join()
    found = [*compared(whole, run, lost), *launcher.differences(whole)]
    print(f"{len(lost)} files lost, {run.refusals} times begun again for it: {', '.join(lost)}")
    missed = ", ".join(filter(None, launcher.lost))
    print(f"the launcher: {launchers} times killed; lost from its store: {missed or 'nothing'}")
    print(f"{given.kills} kills hit what ran; {len(found)} results differ")
    for line in found:
        print(f"  {line}")
    if not found:
        shutil.rmtree(given.output)
    return int(bool(found))


if __name__ == "__main__":
    raise SystemExit(main())
