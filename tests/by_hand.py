"""The stages of `deepcell_segmentation`, run by hand in this process."""

import json

from cellmill.contract.cli import main

PLACES = [
    *("images", "truth", "model", "preprocessed", "predictions", "labels", "label_images"),
    *("measurements", "scores", "reports", "html", "summary", "table"),
]


def stages(folder, image, truth=None, **channels):
    """Run the stages of `deepcell_segmentation` in turn; return the first exit code but 0."""
    item = {"image": str(image), "truth": str(truth or "")}
    at = {name: str(folder / name) for name in PLACES}
    flags = [x for key, value in channels.items() for x in (f"--{key}", str(value))]
    calls = [
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
    for stage, *arguments in calls:
        expanded = [
            x for a in arguments for x in ((f"--{a.replace('_', '-')}", at[a]) if a in at else (a,))
        ]
        if code := main([stage, *expanded]):
            return code
    return 0
