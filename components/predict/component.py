"""The component ``predict``: its interface."""

from kfp import dsl

from components.container import run_stage


@dsl.container_component
def predict(
    preprocessed: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    predictions: dsl.Output[dsl.Dataset],
    record: dsl.Output[dsl.Artifact],
    on_bad_image: str = "fail",
    batch_size: int = 8,
    device: str = "auto",
    precision: str = "float32",
    engine: str = "tensorflow",
    compartment: str = "all",
    threads: int = 0,
    memory_mib: int = 1024,
) -> dsl.ContainerSpec:
    """Run a model's network over preprocessed images, tile by tile.

    Args:
        preprocessed: Batch with array `image` (Y, X, C) float32, made for this model.
        model: Model folder, a TensorFlow SavedModel with its card.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.
        batch_size: Tiles predicted at once; halved by itself when memory runs out.
        device: Where the network runs; auto takes a GPU if there is one.
        precision: What convolutions are computed in; the heads are float32 in any case.
        engine: What computes the network; openvino is faster, and runs on CPUs alone.
        compartment: Heads that are not needed to segment this are not computed; all computes every
            head, empty is the model card's default.
        threads: CPU threads; 0 lets the engine choose.
        memory_mib: Memory to put tiles together in, in MiB, beside the network's; a wider image
            is worked on in strips. Results do not depend on it.

    Returns:
        predictions: Batch with one array (Y, X, channels) float32 per head that is computed, in a
            Zarr where the image was in one.
        record: What was done, with times and versions.
    """
    return run_stage("predict", image="tensorflow")
