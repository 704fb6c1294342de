"""The component ``report``: its interface."""

from kfp import dsl

from components.container import run_stage


@dsl.container_component
def report(
    images: dsl.Input[dsl.Dataset],
    labels: dsl.Input[dsl.Dataset],
    measurements: dsl.Input[dsl.Dataset],
    reports: dsl.Output[dsl.Dataset],
    html: dsl.Output[dsl.HTML],
    record: dsl.Output[dsl.Artifact],
    scores: dsl.Input[dsl.Dataset] = None,
    truth: dsl.Input[dsl.Dataset] = None,
    conversion_record: dsl.Input[dsl.Artifact] = None,
    preprocess_record: dsl.Input[dsl.Artifact] = None,
    predict_record: dsl.Input[dsl.Artifact] = None,
    postprocess_record: dsl.Input[dsl.Artifact] = None,
    stitch_record: dsl.Input[dsl.Artifact] = None,
    measure_record: dsl.Input[dsl.Artifact] = None,
    metrics_record: dsl.Input[dsl.Artifact] = None,
    max_side: int = 4096,
    on_bad_image: str = "fail",
) -> dsl.ContainerSpec:
    """Show what was found: cells outlined on their images, and a page for each image.

    A page is whole in itself: the image with outlines to switch, zoom and point at, measurements,
    accuracy where there is truth, quality, and each stage's time and memory.

    Args:
        images: Batch of images, array `image` (Y, X, C), the original pixels.
        labels: Batch with arrays `whole_cell` and `nuclear`, or one of them, (Y, X) int32.
        measurements: Batch with a file `<name>.parquet` per image, one row an object.
        scores: Batch with a file `<name>.json` per image, scores against truth.
        truth: Batch of true label images, array `labels`; entries without arrays have none.
        conversion_record: Record of the stage that read the images.
        preprocess_record: Record of preprocessing.
        predict_record: Record of prediction.
        postprocess_record: Record of post-processing.
        stitch_record: Record of stitching, where the image was segmented in shards.
        measure_record: Record of measuring.
        metrics_record: Record of scoring.
        max_side: Longest side of overlays and of the pages' pictures in px; larger images are
            shown reduced by a whole factor.
        on_bad_image: What to do with an image that cannot be shown: fail, or skip it and go on.

    Returns:
        reports: Batch with files `<name>.html`, the page, and `<name>.png`, the overlay, per
            image; attributes hold what a summary needs.
        html: The page of the image, or an index where there are several.
        record: What was done, with times and versions.
    """
    return run_stage("report", image="imaging")
