"""The stages of `deepcell_segmentation`, run by hand in this process."""

import json

from cellmill.contract.cli import main

PLACES = [
    *("images", "truth", "model", "preprocessed", "predictions", "labels", "label_images"),
    *("measurements", "scores", "reports", "html", "summary", "table"),
]


def calls(folder, image, truth=None, **channels):
    """Give the command lines of the stages of `deepcell_segmentation`, in turn."""
    item = {"image": str(image), "truth": str(truth or "")}
    at = {name: str(folder / name) for name in PLACES}
    flags = [x for key, value in channels.items() for x in (f"--{key}", str(value))]
    given = [
        ["tiff_to_npz", "--items", json.dumps(item), "images", "truth", *flags],
        ["fetch_model", "model"],
        ["preprocess", "images", "model", "preprocessed"],
        ["predict", "preprocessed", "model", "predictions"],
        ["postprocess", "predictions", "labels"],
        ["export_labels", "labels", "label_images"],
        ["measure", "images", "labels", "measurements"],
        ["metrics", "labels", "truth", "scores"],
        ["report", "images", "labels", "measurements", "scores", "truth", "reports", "html"],
        ["summarize", "reports", "summary", "table"],
    ]
    placed = {name: (f"--{name.replace('_', '-')}", place) for name, place in at.items()}
    return [[part for each in call for part in placed.get(each, (each,))] for call in given]


def stages(folder, image, truth=None, **channels):
    """Run the stages of `deepcell_segmentation` in turn; return the first exit code but 0."""
    for call in calls(folder, image, truth, **channels):
        if code := main(call):
            return code
    return 0
