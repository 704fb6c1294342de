"""The component ``tune_postprocessing``: its interface."""

from kfp import dsl

from components.container import run_stage


@dsl.container_component
def tune_postprocessing(
    predictions: dsl.Input[list[dsl.Dataset]],
    truth: dsl.Input[list[dsl.Dataset]],
    base: dsl.Input[dsl.Model],
    model: dsl.Output[dsl.Model],
    results: dsl.Output[dsl.Metrics],
    surface: dsl.Output[dsl.Dataset],
    html: dsl.Output[dsl.HTML],
    record: dsl.Output[dsl.Artifact],
    on_bad_image: str = "fail",
    compartment: str = "",
    objective: str = "ap_50_90",
    image_groups: str = "",
    maxima_threshold: str = "",
    maxima_smooth: str = "",
    interior_threshold: str = "",
    interior_smooth: str = "",
    pixel_expansion: str = "",
    radius: str = "",
    small_objects_fraction: str = "",
    refinements: int = 2,
    memory_mib: int = 1024,
) -> dsl.ContainerSpec:
    """Find the best post-processing parameters of a model on images with truth.

    All combinations of the parameters' values are tried; then, one parameter at a time, values
    halfway between the best and its neighbours, and all that are known by then. Counts are pooled
    over the images (of a group) before they are scored. Of equally good combinations the card's own
    is taken, else the first.

    Args:
        predictions: Batches of the model's maps, from predict; names are unique over all of them.
        truth: Batches with array `labels` (Y, X) or (Y, X, 2: whole cells, nuclei); images
            without truth are left out.
        base: Model whose card is tuned.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.
        compartment: What is segmented. Empty is the model card's default.
        objective: What is made as great as possible: mean average precision for IoU 0.50 to 0.90
            or to 0.95, average precision or F1 at one IoU, or panoptic quality.
        image_groups: Patterns of image names with `*`, with commas between: each is a series, an
            image belongs to the first that it fits, and the objective is the mean over the series.
            Empty pools all images.
        maxima_threshold: Values to try, with commas between; empty for some around the card's, as
            for the others.
        maxima_smooth: Values to try, in pixels.
        interior_threshold: Values to try.
        interior_smooth: Values to try, in pixels.
        pixel_expansion: Values to try, in pixels by which the interior is widened; empty for the
            card's alone.
        radius: Values to try, in pixels; empty for the card's alone.
        small_objects_fraction: Values to try.
        refinements: How often values halfway between the best and its neighbours are tried.
        memory_mib: Memory to work in, in MiB, beyond what the program itself takes.

    Returns:
        model: The same model, its card with the best parameters.
        results: Best and default parameters, their scores, by group, and how choices made without
            a group do on it, as JSON; the headlines are its metadata.
        surface: The objective and other scores at every combination that was tried, as CSV.
        html: A page that shows the surface.
        record: What was done, with times and versions.
    """
    return run_stage("tune_postprocessing", image="imaging")
