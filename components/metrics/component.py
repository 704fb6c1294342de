"""The component ``metrics``: its interface."""

from kfp import dsl

from components.container import run_stage


@dsl.container_component
def metrics(
    labels: dsl.Input[dsl.Dataset],
    truth: dsl.Input[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    scores: dsl.Output[dsl.Dataset],
    record: dsl.Output[dsl.Artifact],
    truth_compartment: str = "",
    boundary_tolerance_px: float = 2.0,
    memory_mib: int = 1024,
    on_bad_image: str = "fail",
) -> dsl.ContainerSpec:
    """Score labels against the truth; images without truth are said to have none.

    Precision, recall, F1 and average precision for IoU 0.50 to 0.95, panoptic quality, aggregated
    Jaccard index, boundary F and DeepCell's object errors, per image and pooled.

    Args:
        labels: Batch with array `whole_cell` or `nuclear`, or both, (Y, X), 0 is background.
        truth: Batch with array `labels` (Y, X) or (Y, X, 2: whole cells, nuclei), or arrays named
            as in labels (another segmentation); an entry without arrays is an image without
            truth.
        truth_compartment: What a truth of one plane shows. Empty: whatever is segmented; if that
            is both, both are scored against it.
        boundary_tolerance_px: How far apart boundaries may lie for the boundary F, in pixels.
        memory_mib: Memory to work in, in MiB, beside the tables of cells. Results do not depend
            on it.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.

    Returns:
        metrics: Scores of all images, pooled and as means per image, as JSON; the headlines are
            its metadata.
        scores: Batch with a file `<name>.json` per image: its name, whether there is truth, and
            by compartment what `cellmill.metrics.evaluate` says.
        record: What was done, with times and versions.
    """
    return run_stage("metrics", image="imaging")
