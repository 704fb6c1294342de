"""What the parameters mean that several pipelines have: said once, here.

KFP reads a pipeline's docstring, and compiles what it says of each parameter into the YAML.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

#: By name. A pipeline that means something else by a parameter says so in its own docstring.
SHARED = {
    "accelerate": "Extrapolate, for a third of the iterations.",
    "adversarial": "Weight of the adversarial loss.",
    "background": "Light everywhere, beside the offset: a number, one for each channel, or `auto`.",
    "batch_size": "Tiles predicted at a time.",
    "batches": "Batches of images; each image has `image`, `truth`, `name` and digests.",
    "bead_image": "Image of beads to measure the PSF on, in place of the microscope's numbers.",
    "bead_image_digest": "Its digest, so that changed bytes miss the cache.",
    "channels": "Channels to segment, by name or 0-based index, in the models' order.",
    "checkpoint_every": "Steps between two checkpoints, which the gate scores.",
    "compartment": "`nuclear`, `whole-cell` or `both`; empty for each model's own.",
    "conditions": "What is measured under, each a JSON object as `Condition`.",
    "crop": (
        "Side of a plane in pixels, a multiple of 2 to the power of the depth: at depth 2 from 96, "
        "at 1, 3 and 4 from 48, 208 and 400."
    ),
    "cycle": "Weight of the cycle loss.",
    "dark": "Part of the sections of crops that are darker and of lower contrast, 0 to 1.",
    "depth": "Times the generators halve the resolution: 1, simpler, to 4, seeing further.",
    "depth_um": "How deep under the cover slip the sample lies, µm.",
    "description": "What its card says of it.",
    "diameter": "The objects' diameter in pixels, or `auto`; empty goes by the pixel size.",
    "edges": "`valid` explains light from beyond the edge; `circulant`; `same`.",
    "emission_nm": (
        "Wavelength of the light that is seen, nm; several with commas between, one for each "
        "channel."
    ),
    "engine": (
        "What computes the network: `tensorflow`, `openvino` or `onnxruntime`; `auto` takes "
        "the fastest that is there and gives the same heads."
    ),
    "excitation_nm": "Wavelengths of the light that excites, for `confocal`, nm.",
    "export": (
        "Forms for other programs, with commas between: `geojson`, `anndata`, `spatialdata`, "
        "`cellpose`, `rois`; of a time series `tracking`."
    ),
    "folds": "Part of the sections of crops that are folded, 0 to 1.",
    "gain": "Grey levels a photon, for consensus; 0 estimates it.",
    "identity": "Weight of the identity loss.",
    "immersion_index": "Refractive index between objective and cover slip.",
    "items": "Images, each with `image`, `truth`, `name` and digests.",
    "iterations": "Of Richardson-Lucy.",
    "label_dtype": "`int32`, or `uint16` where the labels fit.",
    "learning_rate": "Of all networks.",
    "licence": "What its card says of the weights' licence.",
    "measure_channels": "Further channels to measure; `all` for every one.",
    "method": "How objects are found; empty for the model's own way.",
    "microscope": "`widefield`, `confocal` or `light_sheet`.",
    "missing": "Part of the sections that crops lack, 0 to 1; not for planes across z alone.",
    "model": "Model by name, path or URI; `voronoi_otsu` needs no network.",
    "model_digest": "Digest of a model that is a file, so that changed bytes miss the cache.",
    "mpp": "Pixel size in microns, where the file does not say; 0 for unknown.",
    "name": "The model's name.",
    "numerical_aperture": "Of the objective; with `emission_nm` the PSF is computed.",
    "objective": "Of the adversarial loss: `least_squares` or `focal`.",
    "offset": "Grey levels that the camera adds, taken off before.",
    "on_bad_image": "`fail` the run, or `skip` the image and go on.",
    "parameters": "Parameters of the method in place of the model's, by name, a JSON object.",
    "pinhole_airy": "Diameter of the pinhole in Airy units, for `confocal`.",
    "precision": "Compute type of the network: `float32` or a mixed one.",
    "prices": "US dollars an hour by a machine's name, a JSON object.",
    "psf_image": "Image of the PSF itself, in place of the microscope's numbers.",
    "psf_image_digest": "Its digest, so that changed bytes miss the cache.",
    "psf_model": "`scalar`, or `vectorial`, which counts polarisation.",
    "psf_shape": (
        "Voxels of the PSF along each axis, odd, with commas between; empty for what holds it."
    ),
    "residual": "Whether a generator adds to what it is given.",
    "sample_index": "Refractive index of the sample; 0 is that of the immersion medium.",
    "saturation": "Voxels at or above it were not measured; 0 is the integers' largest.",
    "seed": "Of everything random.",
    "segmenters": "Segmenters, each with `name`, `model` (a name, a path or a URI) and `digest`.",
    "series": "Image of a file that holds several, 0-based; -1 for the only or largest one.",
    "sheet_um": "Thickness of the light sheet, full width at half maximum, µm.",
    "steps": "Batches.",
    "t": (
        "Time point of a series, 0-based; `all` for each as an image of its own; empty where "
        "there is only one."
    ),
    "task_steps": "Batches that the gate's networks are trained on.",
    "total_variation": "Weight that keeps noise from becoming grains; 0 is none.",
    "trust_model": "Load a network even if it could do more than compute: read files, run code.",
    "truth_compartment": "What truth of one plane shows; empty for whatever is segmented.",
    "truth_kind": (
        "What truth files are: `labels`, `mask`, `colours` or `planes`; empty for what each "
        "says of itself."
    ),
    "validation": "Names or patterns of the images to hold out; empty to draw them.",
    "validation_fraction": "Part of the images to hold out.",
    "version": "The model's version.",
    "warp": "Standard deviation of an elastic warp of crops, voxels; 0 bends none.",
    "width": "Channels of the generators at full resolution.",
    "z": "Plane of a stack, 0-based; empty where there is only one.",
    "z_step": "Microns between the planes of a stack, where the file does not say; 0 for unknown.",
}


def described(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add to a pipeline's docstring what it leaves to `SHARED`.

    Raises:
        LookupError: nothing says what a parameter means.
    """
    text = inspect.cleandoc(function.__doc__ or "")
    head, _, own = text.partition("\nArgs:\n")
    lines = [head.rstrip(), "", "Args:"]
    for name in inspect.signature(function).parameters:
        if re.search(rf"^    {name}: ", own, re.MULTILINE):
            continue
        if name not in SHARED:
            raise LookupError(f"pipeline {function.__name__}: nothing says what '{name}' means")
        lines.append(f"    {name}: {SHARED[name]}")
    function.__doc__ = "\n".join([*lines, own])
    return function
