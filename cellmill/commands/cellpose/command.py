"""`cellmill cellpose --dir FOLDER --pretrained_model nuclei --chan 1 …`.

Each image is read, segmented and written by itself, in bounded memory: of a file with many channels
those alone are read that the network is given, and an image that does not fit is worked on tile by
tile. What cannot be segmented is said and left; the others are done.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cellmill.arrays.channels import BLANK, filled_channels
from cellmill.arrays.files import open_staged
from cellmill.commands.cellpose.flags import Flags, parsed_flags
from cellmill.compute.faults import fault_of
from cellmill.errors import BadInput, CellmillError, MachineFault
from cellmill.io.images import open_image
from cellmill.io.listing import list_files
from cellmill.io.tiff.layout import TiffImage
from cellmill.io.tiff.select import describe
from cellmill.models.card import ModelCard
from cellmill.models.fetch import fetch_model
from cellmill.models.published import published_names
from cellmill.segmentation.cellpose.parameters import CellposeParameters
from cellmill.segmenter.result import Segmentation
from cellmill.segmenter.segmenter import Segmenter
from cellmill.terminal import say
from cellmill.version import __version__

#: What Cellpose itself writes beside images; no images.
_OUTPUTS = re.compile(r"_(cp_masks|cp_output|flows|masks)$")
#: Colours, as Cellpose's log calls channels 1 to 3.
_COLOURS = ("NONE", "RED", "GREEN", "BLUE")
_UINT16 = 1 << 16
#: By what Cellpose's log sets lines off.
_MARK = 4 * ">"
#: Parameters of method `cellpose` that are flags.
_PARAMETERS = ("flow_threshold", "cellprob_threshold", "niter", "min_size")


def main(arguments: Sequence[str]) -> int:
    """Segment the images; return 0, or 2 where some could not be.

    Raises:
        CellmillError: the flags, the model or all images are bad.
    """
    flags = parsed_flags(arguments)
    images = _images(flags)
    log = _Log(flags.verbose)
    begun = time.monotonic()
    log(f"cellmill {__version__}, Cellpose's command")
    model = _model_name(flags.pretrained_model)
    card = fetch_model(model).card
    channels = _channels(flags, card)
    if (
        flags.do_3d
        and (by := card.postprocessing[card.default_compartment]["method"]) != "cellpose"
    ):
        expected = "a model of method 'cellpose'"
        raise BadInput("--do_3D", expected=expected, found=f"{card.name}, of '{by}'")
    segmenter = Segmenter(
        model,
        parameters=_parameters(flags, card),
        device="auto" if flags.use_gpu else "cpu",
        batch_size=flags.batch_size,
        memory_mib=flags.memory_mib,
    )
    seg, nuclei = _titled(flags.chan, "GRAY"), _titled(flags.chan2, "NONE")
    log(f"{_MARK} model {card.name} {card.version}, {card.licence or 'licence unknown'}")
    log(
        f"{_MARK} running cellpose on {len(images)} images using chan_to_seg {seg} and "
        f"chan (opt) {nuclei}"
    )
    told = f"{flags.diameter:.2f} for all images" if flags.diameter else "estimated for each image"
    log(f"{_MARK} using diameter {told}")
    if not flags.no_npy:
        log("_seg.npy is not written: it is a pickle, which runs code when it is opened")
    failed = []
    for k, path in enumerate(images):
        try:
            _segment(path, segmenter, flags, channels, log)
        except CellmillError as error:
            # What the machine refuses, it refuses the next image as well.
            if isinstance(error, MachineFault) or fault_of(error):
                raise
            failed.append(path)
            say(f"cellmill cellpose: {path}: {error}", to=sys.stderr)
        log(f"{100 * (k + 1) // len(images)}% | {k + 1}/{len(images)}")
    log(f"{_MARK} completed in {time.monotonic() - begun:.3f} sec")
    if failed:
        say(f"cellmill cellpose: {len(failed)} of {len(images)} images failed", to=sys.stderr)
    return 2 if failed else 0


@dataclass(frozen=True)
class _Log:
    """Lines as Cellpose's log has them, on stderr."""

    shown: bool

    def __call__(self, line: str) -> None:
        if self.shown:
            now = datetime.now().strftime("%Y-%m-%d %H:%M:%S,%f")[:-3]
            say(f"{now} [INFO] {line}", to=sys.stderr)


def _images(flags: Flags) -> list[str]:
    if flags.image_path:
        return [flags.image_path]
    listing = list_files(flags.dir)
    found = [each.uri for each in listing.files if not _OUTPUTS.search(Path(each.uri).stem)]
    if not found:
        raise BadInput(f"'{flags.dir}'", expected="images", found="masks alone")
    if left := listing.others():
        say(f"not read: {left}", to=sys.stderr)
    return found


def _model_name(given: str) -> str:
    """A name of Cellpose's, or whatever else names a model; there is no silent other one."""
    named = f"cellpose:{given}"
    own = {name.casefold() for name in published_names()}
    return named if named.casefold() in own and not Path(given).exists() else given


def _channels(flags: Flags, card: ModelCard) -> tuple[int, ...] | None:
    """The model's channels by their 0-based indices; `None` for the image's only one."""
    wanted = len(card.input.channels)
    if card.input.fewest_channels > 2:
        raise BadInput(
            "--pretrained_model",
            expected="a model of one channel, or of two (cytoplasm and nuclei)",
            found=f"one of {wanted}",
        )
    if wanted == 1 and flags.chan2:
        found = f"{flags.chan2}: model {card.name} is given one channel"
        raise BadInput("--chan2", expected="0", found=found)
    if wanted == 1 and not flags.chan:
        return None
    chosen = (flags.chan - 1, flags.chan2 - 1 if flags.chan2 else BLANK)
    return tuple(filled_channels(chosen, wanted, len(chosen)))[:wanted]


def _checked_channels(
    path: str, flags: Flags, channels: tuple[int, ...] | None
) -> tuple[int, ...] | None:
    """The channels, held against what the image has, and `--channel_axis` against its layout."""
    with open_image(path, z="all" if flags.volumes else -1) as image:
        names = image.channels
        colour = isinstance(image, TiffImage) and image.colour
    _check_axes(flags, len(names), colour)
    for flag, number in (("--chan", flags.chan), ("--chan2", flags.chan2)):
        if number > len(names):
            expected = f"1 to {len(names)}, counted from 1"
            raise BadInput(flag, expected=expected, found=f"{number}")
    if not flags.chan and len(names) > 1 and not colour:
        found = f"0, and {describe(names)}"
        raise BadInput("--chan", expected=f"1 to {len(names)}: which to segment", found=found)
    if channels and not flags.chan:
        return (0, *channels[1:])
    return channels


def _check_axes(flags: Flags, channels: int, colour: bool) -> None:
    """Hold what is said of axes against what the file has; where they lie is read from it."""
    last, first = (-1, 3) if flags.volumes else (-1, 2), (0, 1) if flags.volumes else (0,)
    axes = (*first, *last) if colour or channels == 1 else first
    if flags.channel_axis not in (None, *axes):
        expected = f"{first[-1]}, or -1 or {last[1]} of a colour image"
        if axes == first:
            expected = " or ".join(map(str, first)) + ": its channels come first"
        raise BadInput("--channel_axis", expected=expected, found=f"{flags.channel_axis}")
    if flags.z_axis is None:
        return
    if not flags.volumes:
        expected = "--do_3D or --stitch_threshold beside it"
        raise BadInput("--z_axis", expected=expected, found=f"{flags.z_axis}")
    planes = {0, 1} - {flags.channel_axis} if channels > 1 and not colour else {0}
    if flags.z_axis not in planes:
        expected = f"{' or '.join(map(str, sorted(planes)))}: planes come before rows and columns"
        raise BadInput("--z_axis", expected=expected, found=f"{flags.z_axis}")


def _parameters(flags: Flags, card: ModelCard) -> dict[str, Any]:
    """The method's parameters that were told; sizes at the model's scale."""
    told = {name: getattr(flags, name) for name in _PARAMETERS}
    found = {name: value for name, value in told.items() if value is not None}
    kind = card.default_compartment
    trained = card.input.object_diameter.get(kind, 0.0)
    method = card.postprocessing[kind]["method"]
    if method == "cellpose" and flags.diameter and trained:
        own = card.postprocessing[kind].get("min_size", CellposeParameters.min_size)
        size = found.get("min_size", own)
        if size > 0:
            # Voxels are counted as if they were as deep as wide.
            power = 3 if flags.do_3d else 2
            found["min_size"] = max(1, round(size * (trained / flags.diameter) ** power))
    return found


def _titled(number: int, none: str) -> str:
    if not number:
        return none
    return _COLOURS[number] if number < len(_COLOURS) else f"CHANNEL {number}"


def _segment(
    path: str, segmenter: Segmenter, flags: Flags, channels: tuple[int, ...] | None, log: _Log
) -> None:
    begun = time.monotonic()
    log(f"~~~ FINDING MASKS ~~~ {path}")
    chosen = _checked_channels(path, flags, channels)
    options: dict[str, Any] = {"channels": chosen, "diameter": flags.told_diameter}
    if flags.stitch_threshold:
        options |= {"z": "all", "stitch_threshold": flags.stitch_threshold}
    if flags.do_3d:
        options |= {"z": "all", "orientations": 3, "anisotropy": flags.anisotropy or 0.0}
    found = segmenter(path, **options)
    for remark in found.facts.remarks:
        log(remark)
    for kind, recipe in found.facts.methods.items():
        shown = ", ".join(f"{name} {value}" for name, value in recipe.items() if name != "method")
        log(f"Evaluated {kind} with {shown}")
    if not flags.diameter and (estimated := found.facts.scaling.get("diameter")):
        log(f"{_MARK} diameter {estimated:.2f} estimated")
    for place in _write(path, found, flags):
        count = sum(found.counts.values())
        say(f"{place}: {count} objects")
    log(f"{_MARK} TOTAL TIME {time.monotonic() - begun:.2f} sec")


def _write(path: str, found: Segmentation, flags: Flags) -> list[Path]:
    """Write the masks; the names are Cellpose's, from all of the image's but its last suffix."""
    given = Path(path.rstrip("/"))
    folder = Path(flags.savedir) if flags.savedir else given.parent
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / f"{given.stem}_cp_masks"
    (labels,) = found.labels.values()
    count = sum(found.counts.values())
    made = []
    if flags.save_png and len(labels.shape) != 2:
        raise BadInput("--save_png", expected="masks of a plane", found="a stack; --save_tif")
    if flags.save_tif or not flags.save_png:
        place = base.with_name(f"{base.name}.tif")
        found.write(place, dtype="uint16" if count < _UINT16 else "int32")
        made.append(place)
    if flags.save_png:
        if count >= _UINT16:
            found_text = f"{count}; --save_tif writes them"
            raise BadInput("--save_png", expected="at most 65,535 objects", found=found_text)
        place = base.with_name(f"{base.name}.png")
        with open_staged(place) as file:
            Image.fromarray(np.asarray(labels[:], np.uint16)).save(file, "PNG")
        made.append(place)
    return made
