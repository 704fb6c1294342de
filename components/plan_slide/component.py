"""The component ``plan_slide``: its interface."""

from kfp import dsl

from components.container import run_stage


@dsl.container_component
def plan_slide(
    images: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    plan: dsl.Output[dsl.Dataset],
    record: dsl.Output[dsl.Artifact],
    shards: dsl.OutputPath(list),  # type: ignore[valid-type]
    compartment: str = "",
    store: str = "",
    most_shards: int = 16,
    match_mpp: bool = True,
    memory_mib: int = 1024,
    on_bad_image: str = "fail",
) -> dsl.ContainerSpec:
    """Take the statistics of whole slides and cut them into shards, one for each task.

    Normalisation hangs on the whole image (percentiles, extremes): they are taken here, once, so
    that each shard is normalised as the whole is. The arrays into which predictions go are made.

    Args:
        images: Batch of images, array `image` (Y, X, C).
        model: Model folder; its card says which channels, scale and normalisation it expects.
        compartment: What will be segmented; empty is the model card's default.
        store: Folder or URI under which the slides' large arrays go; all tasks must reach it.
            Empty is beside the output `plan`.
        most_shards: At most so many shards; a slide has fewer if it is small.
        match_mpp: Segment at the model's microns per pixel; an image whose own is unknown is
            taken as it is.
        memory_mib: Memory to work in, in MiB, beyond what the program itself takes.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.

    Returns:
        plan: Batch with arrays `<compartment>_maxima` and `<compartment>_interior` (Y', X')
            float32, to be filled by predict_shard; its attributes hold each slide's plan.
        record: What was done, with times and versions.
        shards: Numbers of the shards, from 0, for a loop over them; as many as the slide that is
            cut into most has.
    """
    return run_stage("plan_slide", image="imaging")
