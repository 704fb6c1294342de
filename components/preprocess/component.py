"""The component ``preprocess``: its interface."""

from kfp import dsl

from components.container import run_stage


@dsl.container_component
def preprocess(
    images: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    preprocessed: dsl.Output[dsl.Dataset],
    record: dsl.Output[dsl.Artifact],
    on_bad_image: str = "fail",
    match_mpp: bool = True,
    memory_mib: int = 1024,
) -> dsl.ContainerSpec:
    """Bring images to the scale and the pixel values that a model expects.

    Args:
        images: Batch of images, array `image` (Y, X, C).
        model: Model folder; its card says which channels, scale and normalisation it expects.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.
        match_mpp: Resize images to the model's microns per pixel; an image whose own is unknown
            is never resized.
        memory_mib: Memory to work in, in MiB; an image that takes more is worked on by windows.
            Results do not depend on it.

    Returns:
        preprocessed: Batch with array `image` (Y', X', C) float32, channels in the model's order,
            in a Zarr where the image was in one.
        record: What was done, with times and versions.
    """
    return run_stage("preprocess", image="imaging")
