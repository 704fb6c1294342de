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
    compartment: str = "whole_cell",
    on_bad_image: str = "fail",
) -> dsl.ContainerSpec:
    """Segment images with DeepCell's Mesmer, whole, as the reference to compare with.

    Everything is the deepcell package's: resizing, preprocessing, tiling, the network, untiling
    and post-processing, with Mesmer's own default parameters (they are kept in the record); the
    card only names the heads. Only the numbering of the cells is ours. An image whose pixel size
    is unknown is run at its own scale.

    Args:
        images: Images `(Y, X, C)` as `tiff_to_npz` gives them.
        model: A SavedModel with Mesmer's two channels and four heads that Keras 2.8 loads.
        compartment: What is segmented: whole cells, nuclei or both.
        on_bad_image: Whether a bad image fails the stage or is skipped.

    Returns:
        labels: Label images `(Y, X)` int32 per compartment, numbered in raster order.
        predictions: What the network said, `(Y', X', channels)` float32 per head, untiled.
        preprocessed: What the network was shown, `(Y', X', 2)` float32, at the model's scale.
        record: What was done, and how long it took.
    """
    return run_stage("deepcell_reference", image="deepcell")
