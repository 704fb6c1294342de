"""The flags of `cellmill cellpose`: Cellpose 3's, in its words and with its defaults.

A flag that is not here is refused by its name, never ignored.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from cellmill.contract.cli import OneLineParser
from cellmill.errors import BadInput
from cellmill.preprocessing.scale import AUTO

#: Cellpose's where nobody says: pixels.
DIAMETER = 30.0


@dataclass(frozen=True)
class Flags:
    """What a user asks for.

    Attributes:
        dir: folder of images; empty where `image_path` says one.
        image_path: a single image.
        pretrained_model: name, path or URI of a model.
        chan: channel to segment, counted from 1; 0 is the only one.
        chan2: channel of nuclei beside it, counted from 1; 0 is none.
        channel_axis: along which the channels lie; -1 for the last, `None` as the file says.
        diameter: of the objects in pixels; 0 estimates it for each image.
        flow_threshold: see `cellmill.segmentation.cellpose.parameters`; `None` is the model's.
        cellprob_threshold: see there.
        niter: see there.
        min_size: least pixels of an object, at the image's scale.
        stitch_threshold: intersection over union from which objects of neighbouring planes of a
            stack are one; 0 takes images of one plane.
        do_3d: whether images are volumes whose planes are seen in three orientations.
        anisotropy: of a volume, the distance of planes in pixels; `None` is the file's.
        z_axis: along which the planes lie; `None` as the file says.
        savedir: folder for what is written; empty is beside each image.
        save_tif: whether masks are written as TIFF.
        save_png: whether masks are written as PNG.
        no_npy: whether nothing need be said of `_seg.npy`.
        use_gpu: whether a GPU is used where there is one.
        batch_size: tiles that the network is given at once.
        memory_mib: memory to work in beyond the network's.
        verbose: whether the log is shown.
    """

    dir: str
    image_path: str
    pretrained_model: str
    chan: int
    chan2: int
    channel_axis: int | None
    diameter: float
    flow_threshold: float | None
    cellprob_threshold: float | None
    niter: int | None
    min_size: int | None
    stitch_threshold: float
    do_3d: bool
    anisotropy: float | None
    z_axis: int | None
    savedir: str
    save_tif: bool
    save_png: bool
    no_npy: bool
    use_gpu: bool
    batch_size: int
    memory_mib: int
    verbose: bool

    @property
    def volumes(self) -> bool:
        """Whether images are stacks of planes."""
        return self.do_3d or self.stitch_threshold > 0

    @property
    def told_diameter(self) -> float | str:
        """The diameter as `cellmill.segment` takes it."""
        return self.diameter or AUTO


def parsed_flags(arguments: Sequence[str]) -> Flags:
    """Read the flags.

    Raises:
        CellmillError: a flag is not one of these, or not of its type.
        BadInput: flags contradict each other, or a value is out of range.
    """
    given = vars(_parser().parse_args(arguments))
    given["do_3d"] = given.pop("do_3D")
    if given["do_3d"] and given["stitch_threshold"]:
        expected = "either, planes of three orientations or planes of one that are joined"
        raise BadInput("--do_3D and --stitch_threshold", expected=expected, found="both")
    if given["anisotropy"] is not None and not (
        given["do_3d"] and 0 < given["anisotropy"] < float("inf")
    ):
        expected = "the distance of planes in pixels, with --do_3D"
        raise BadInput("--anisotropy", expected=expected, found=f"{given['anisotropy']:g}")
    if not 0 <= given["stitch_threshold"] <= 1:
        found = f"{given['stitch_threshold']:g}"
        raise BadInput("--stitch_threshold", expected="0 to 1", found=found)
    flags = Flags(**{field.name: given[field.name] for field in fields(Flags)})
    if bool(flags.dir) == bool(flags.image_path):
        found = "both" if flags.dir else "neither"
        raise BadInput("images", expected="--dir or --image_path", found=found)
    if flags.dir and not Path(flags.dir).is_dir():
        raise BadInput("--dir", expected="a folder of images", found=f"'{flags.dir}'")
    for flag, number in (("--chan", flags.chan), ("--chan2", flags.chan2)):
        if number < 0:
            raise BadInput(flag, expected="a channel counted from 1, or 0", found=f"{number}")
    if not 0 <= flags.diameter < float("inf"):
        expected = "the objects' diameter in pixels, or 0 to estimate it"
        raise BadInput("--diameter", expected=expected, found=f"{flags.diameter}")
    return flags


def _parser() -> argparse.ArgumentParser:
    made = OneLineParser(
        prog="cellmill cellpose",
        description="Segment a folder of images by Cellpose's command and flags. Masks are written "
        "beside each image as <image>_cp_masks.tif, a label image (Y, X): 0 is background.",
        allow_abbrev=False,
    )
    images = made.add_argument_group("images")
    images.add_argument("--dir", default="", help="folder of images: TIFF or OME-Zarr")
    images.add_argument("--image_path", default="", help="one image")
    images.add_argument("--chan", type=int, default=0, help="channel to segment, from 1 [0: only]")
    images.add_argument("--chan2", type=int, default=0, help="channel of nuclei, from 1 [0: none]")
    images.add_argument(
        "--channel_axis", type=int, help="axis of the channels: 0, or -1 of a colour image"
    )
    images.add_argument("--z_axis", type=int, help="axis of the planes of a stack")
    model = made.add_argument_group("model")
    model.add_argument(
        "--pretrained_model",
        default="cyto3",
        help="a network that Cellpose publishes (cyto3, nuclei, …), any other name, path or URI of "
        "a model of cellmill's, or a file of Cellpose's weights [cyto3]",
    )
    model.add_argument("--use_gpu", action="store_true", help="use a GPU if there is one")
    model.add_argument("--batch_size", type=int, default=8, help="tiles at once [8]")
    model.add_argument("--memory_mib", type=int, default=1024, help="memory to work in [1024]")
    masks = made.add_argument_group("masks")
    masks.add_argument(
        "--diameter",
        type=float,
        default=DIAMETER,
        help="of the objects, pixels; 0 estimates it for each image [30]",
    )
    masks.add_argument("--flow_threshold", type=float, help="greatest error of flows [0.4]")
    masks.add_argument("--cellprob_threshold", type=float, help="least logit of a pixel [0]")
    masks.add_argument("--niter", type=int, help="steps of each pixel [0: 200 at model's scale]")
    masks.add_argument("--min_size", type=int, help="least pixels of an object [15]")
    masks.add_argument(
        "--do_3D", action="store_true", help="volumes, by planes across all three axes"
    )
    masks.add_argument(
        "--anisotropy",
        type=float,
        help="with --do_3D: distance of planes in pixels [the file's, else 1]",
    )
    masks.add_argument(
        "--stitch_threshold",
        type=float,
        default=0.0,
        help="of stacks: least IoU of objects of neighbouring planes that are one [0: no stacks]",
    )
    written = made.add_argument_group("what is written")
    written.add_argument("--save_tif", action="store_true", help="masks as TIFF (the default)")
    written.add_argument("--save_png", action="store_true", help="masks as PNG of 16 bits")
    written.add_argument("--no_npy", action="store_true", help="no _seg.npy, which is so anyway")
    written.add_argument("--savedir", default="", help="folder for masks [beside the images]")
    written.add_argument("--verbose", action="store_true", help="show the log")
    return made
