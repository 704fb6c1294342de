"""The component ``deepcell_reference``: its interface."""

from kfp import dsl

from components.container import run_stage


@dsl.container_component
def deepcell_reference(
    images: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    labels: dsl.Output[dsl.Dataset],
    predictions: dsl.Output[dsl.Dataset],
    preprocessed: dsl.Output[dsl.Dataset],
    record: dsl.Output[dsl.Artifact],
    on_bad_image: str = "fail",
    compartment: str = "",
) -> dsl.ContainerSpec:
    """Segment images with DeepCell's Mesmer, whole, as the reference to compare with.

    Everything is the deepcell package's: resizing, preprocessing, tiling, the network, untiling
    and post-processing, with Mesmer's own default parameters (they are kept in the record); the
    card only names the heads. Only the numbering of the cells is ours. An image whose pixel size
    is unknown is run at its own scale.

    Args:
        images: Batch of images, array `image` (Y, X, C), from tiff_to_npz.
        model: Model folder, a SavedModel with Mesmer's channels and heads that Keras 2.8 loads.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.
        compartment: What to segment; both labels whole cells and nuclei, each by themselves.
            Empty is the model card's default.

    Returns:
        labels: Batch with array `whole_cell` or `nuclear`, or both, (Y, X) int32.
        predictions: Batch with what the network said, (Y', X', channels) float32 per head.
        preprocessed: Batch with what the network was shown, `image` (Y', X', 2) float32.
        record: What was done, with times and versions.
    """
    return run_stage("deepcell_reference", image="deepcell")
