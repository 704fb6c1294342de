"""A model that is loaded once and segments any number of images."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from cellmill.arrays.rows import check_memory
from cellmill.inference.network import Device, Precision
from cellmill.inference.predictor import Predictor
from cellmill.io.tiff.axes import FocalPlane
from cellmill.labels.stitching import STITCH_THRESHOLD, check_stitch_threshold
from cellmill.models.card import ModelCard
from cellmill.models.chosen import chosen_compartments
from cellmill.models.fetch import fetch_model
from cellmill.preprocessing import ScaleSettings, prepare_image
from cellmill.segmentation.interface import IMAGE
from cellmill.segmentation.methods import heads_read, recipes_of
from cellmill.segmentation.orientations import check_orientations
from cellmill.segmenter.cell_size import CellSize
from cellmill.segmenter.labels import label_within
from cellmill.segmenter.predicting import predicted
from cellmill.segmenter.result import Segmentation, SegmentationFacts
from cellmill.segmenter.scale import find_scale, said_of_scale
from cellmill.segmenter.source import (
    Channels,
    Choice,
    ImageLike,
    PixelSize,
    Source,
    source_at,
    source_in_memory,
)
from cellmill.segmenter.volumes import label_volume
from cellmill.segmenter.work import Report, Work
from cellmill.version import __version__


class Segmenter:
    """A model that is loaded once and segments any number of images.

    Call it with an image. It may be called from several threads: they take turns at the network,
    and prepare and label their images side by side.

    Args:
        model: name of a model (`cellmill-nuclei`, `Mesmer`, …), or path or URI of one.
        compartment: kind of object to segment, `nuclear`, `whole-cell` or `both`; `None` is the
            card's default.
        method: how objects are found; `None` is the card's method.
        parameters: parameters of the method in place of the card's, by name.
        engine: what runs the network: `openvino`, `tensorflow` or `onnxruntime`; `auto` takes the
            fastest that is installed and gives the same maps.
        device: where it runs; `auto` takes a GPU if the engine finds one.
        precision: what convolutions are computed in; the maps are float32 in any case.
        batch_size: tiles predicted at once; halved by itself when memory runs out.
        threads: CPU threads of the network; 0 lets the engine choose.
        memory_mib: memory to work in, MiB, beyond what the network and the given images take.
            Labels do not depend on it: an image that needs more is worked on tile by tile, its
            arrays in a temporary folder.
        trust_model: load a network even if it has operations that could do more than compute: read
            files, or run code.
        together: whether threads that call it at once take no turns: their tiles go to the network
            together. With engines whose last bits depend on how many tiles a call has, so may the
            labels' borders.
        on_batch: told how many tiles each call of the network had, if they go together.

    Attributes:
        card: what is known of the model.

    Raises:
        BadInput: there is no such model or engine, or the model does not have what is wanted.
    """

    def __init__(
        self,
        model: str = "cellmill-nuclei",
        *,
        compartment: str | None = None,
        method: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        engine: str = "auto",
        device: Device = "auto",
        precision: Precision = "float32",
        batch_size: int = 8,
        threads: int = 0,
        memory_mib: int = 1024,
        trust_model: bool = False,
        together: bool = False,
        on_batch: Callable[[int], None] | None = None,
    ) -> None:
        check_memory(memory_mib)
        self._compartment = compartment or ""
        fetched = fetch_model(os.fspath(model))
        self.card: ModelCard = fetched.card
        self._recipes = recipes_of(
            self.card,
            chosen_compartments(self.card, self._compartment),
            method=method or "",
            parameters=parameters,
        )
        heads = heads_read(self.card, self._recipes.values())
        self._memory_mib = memory_mib
        self._turn: contextlib.AbstractContextManager[object] = threading.Lock()
        # A network that sees volumes is loaded anew for each: they take turns.
        if together and not self.card.input.sees_volumes:
            self._turn = contextlib.nullcontext()
        # A method that reads nothing but the image needs no network.
        self._predictor: Predictor | None = None
        opened = partial(
            Predictor,
            fetched.folder,
            batch_size=batch_size,
            engine=engine,
            device=device,
            precision=precision,
            threads=threads,
            trusted=trust_model,
        )
        if heads:
            self._predictor = opened(self.card, heads, together=together, on_batch=on_batch)
        self._size_model = CellSize.of(fetched.folder, self.card, opened)

    def __call__(
        self,
        image: ImageLike,
        *,
        mpp: PixelSize = None,
        diameter: float | str | None = None,
        channels: Channels = None,
        z: FocalPlane = -1,
        t: int = -1,
        series: int = -1,
        keep_maps: bool = False,
        stitch_threshold: float = STITCH_THRESHOLD,
        orientations: int = 1,
        anisotropy: float = 0.0,
        progress: Report | None = None,
    ) -> Segmentation:
        """Segment one image.

        Args:
            image: an array `(Y, X)` or `(Y, X, C)` of numbers; what `read_image` gives; or path or
                URI of a file that `open_image` reads, which is worked on tile by tile where it is
                large.
            mpp: pixel size in microns, of both axes or (y, x); `None` is what the file says.
            diameter: of the objects, in pixels: the image is brought to the scale at which they
                have the size that the model was trained on. `"auto"` estimates it, by the model's
                size model if it has one (Cellpose's `cyto3`, `nuclei`, …). `None` goes by the pixel
                size, if the model knows its objects' size in microns.
            channels: which channels the model is given, in its order: indices, or of a file names
                too (`"DAPI,membrane"`, `["DAPI", 2]`); `-1` is a blank one. `None`: all of an
                array, the only one of a file.
            z: focal plane of a file, 0-based; -1: the only one; `"all"`: a volume, see `segment`.
            t: time point of a file, 0-based; -1: the only one.
            series: image of a file with several; -1: the only one, or the largest.
            keep_maps: also give the network's outputs.
            stitch_threshold: of a volume whose planes a network sees one by one: objects of
                neighbouring planes are one where their intersection over union is at least this.
            orientations: 3: planes across Z, Y and X, added up by method `cellpose`; 1: across Z.
            anisotropy: of three, the distance of planes in pixels; 0: by the voxel size, else 1.
            progress: called with the name of a step (`read`, …, `predict`, `label`) and the part
                of it that is done, 0 to 1. What it raises ends the work.

        Returns:
            Labels by kind of object, and what was done.

        Raises:
            BadInput: the image cannot be read, has NaN or infinity, or other axes or channels than
                the model takes; or `output` is there already.
        """
        check_stitch_threshold(stitch_threshold)
        check_orientations(orientations, self.card, self._recipes, volume=z == "all")
        scale = ScaleSettings.of(self.card, diameter, self._compartment)
        work = Work(self._memory_mib, progress)
        in_memory = not isinstance(image, str | os.PathLike)
        with work.step("read"):
            if isinstance(image, str | os.PathLike):
                choice = Choice(z, t, series)
                source = source_at(
                    image, self.card, channels, mpp, choice, work.image, self._memory_mib
                )
            else:
                source = source_in_memory(image, self.card, channels, mpp, volume=z == "all")
        cut = (stitch_threshold, orientations, anisotropy)
        return self._segment(source, scale, work, keep_maps, cut, in_memory)

    def map(self, images: Iterable[ImageLike], **options: Any) -> Iterator[Segmentation]:
        """Segment images one after another, each when it is asked for.

        Args:
            images: as a call takes one.
            **options: as a call takes them.

        Yields:
            A segmentation for each image, in their order; what one raises ends them.
        """
        for image in images:
            yield self(image, **options)

    def _segment(
        self,
        source: Source,
        settings: ScaleSettings,
        work: Work,
        keep_maps: bool,
        cut: tuple[float, int, float],
        in_memory: bool,
    ) -> Segmentation:
        """Prepare, predict and label an image that is open."""
        shape = source.image.shape[0], source.image.shape[1]
        scaling = find_scale(source, settings, work, self._size_model)
        remarks = [*source.remarks, *said_of_scale(source, self.card, scaling)]
        scale = (scaling.shape[0] / shape[0], scaling.shape[1] / shape[1])
        if source.stack:
            # Of each plane the heads are held: on disk they would lie where the last plane's do.
            predict = partial(predicted, self._predictor, self.card, self._turn, in_memory=True)
            how = (source, self.card, self._recipes, scaling.shape, predict, work)
            labels, facts, maps, notes = label_volume(*how, *cut, in_memory=in_memory)
            remarks += notes
        else:
            ready = prepare_image(
                source.image,
                self.card,
                shape=scaling.shape,
                memory=work.memory,
                what=source.what,
                step=work.step,
            )
            remarks += ready.normalisation.notes
            maps = predicted(self._predictor, self.card, self._turn, ready.pixels, work)
            own = source.mpp and (source.mpp[0] / scale[0], source.mpp[1] / scale[1])
            heads = {**maps, IMAGE: ready.pixels}
            labels, facts = label_within(heads, self._recipes, shape, own, work, in_memory)
        return Segmentation(
            labels,
            SegmentationFacts(
                name=source.name,
                model=self.card.name,
                model_version=self.card.version,
                methods={name: recipe.plain() for name, recipe in self._recipes.items()},
                engine=self._predictor.effect if self._predictor else {},
                versions={"cellmill": __version__, "numpy": np.__version__},
                scale=scale,
                scaling=scaling.to_attributes(),
                mpp=source.mpp,
                mpp_source=source.mpp_source,
                objects={name: each.objects for name, each in facts.items()},
                vanished={name: each.vanished for name, each in facts.items()},
                median_diameter_px={name: each.median_diameter_px for name, each in facts.items()},
                tiled=work.folder is not None,
                seconds=work.seconds,
                remarks=tuple(remarks),
            ),
            maps if keep_maps else {},
            work.folder,
        )


def segment(
    image: ImageLike,
    *,
    model: str = "cellmill-nuclei",
    mpp: PixelSize = None,
    diameter: float | str | None = None,
    compartment: str | None = None,
    channels: Channels = None,
    method: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    engine: str = "auto",
    z: FocalPlane = -1,
    t: int = -1,
    series: int = -1,
    keep_maps: bool = False,
    stitch_threshold: float = STITCH_THRESHOLD,
    orientations: int = 1,
    memory_mib: int = 1024,
) -> Segmentation:
    """Segment one image with a model. For several images load a `Segmenter` once.

    Args:
        image: an array `(Y, X)` or `(Y, X, C)` of numbers; what `read_image` gives; or path or URI
            of a file that `open_image` reads, which is worked on tile by tile where it is large.
        model: see `Segmenter`, as for `compartment`, `method`, `parameters`, `engine`,
            `memory_mib`.
        mpp: see a `Segmenter`'s call, as for `diameter`, `channels`, `z`, `t`, `series`,
            `keep_maps`, `stitch_threshold`, `orientations`.
        diameter: of the objects in pixels, or `"auto"`.
        compartment: kind of object, `nuclear`, `whole-cell` or `both`; `None` is the default.
        channels: which channels the model is given; `None`: all of an array, the only one of a
            file.
        method: how objects are found; `None` is the card's method.
        parameters: of the method, in place of the card's.
        engine: what runs the network: `openvino`, `tensorflow` or `onnxruntime`; `auto` takes the
            fastest that is installed and gives the same maps.
        z: focal plane of a file, 0-based; -1: the only one; `"all"`: a volume, of an array
            `(Z, Y, X)` or `(Z, Y, X, C)`, with `mpp` (z, y, x).
        t: time point of a file, 0-based; -1: the only one.
        series: image of a file that holds several; -1: the only one, or the largest.
        keep_maps: also give the network's outputs.
        memory_mib: memory to work in, MiB.

    Returns:
        Labels by kind of object, and what was done.

    Raises:
        BadInput: see `Segmenter` and its call.

    Example:
        >>> import numpy as np
        >>> y, x = np.indices((96, 96))
        >>> image = (200 * (np.hypot(y - 48, x - 48) < 12)).astype(np.uint8)
        >>> cells = segment(image)
        >>> cells.counts, cells.label_image.shape
        ({'nuclear': 1}, (96, 96))
    """
    segmenter = Segmenter(
        model,
        compartment=compartment,
        method=method,
        parameters=parameters,
        engine=engine,
        memory_mib=memory_mib,
    )
    return segmenter(
        image,
        mpp=mpp,
        diameter=diameter,
        channels=channels,
        z=z,
        t=t,
        series=series,
        keep_maps=keep_maps,
        stitch_threshold=stitch_threshold,
        orientations=orientations,
    )
