"""The component ``summarize``: its interface."""

from kfp import dsl

from components.container import run_stage


@dsl.container_component
def summarize(
    reports: dsl.Input[list[dsl.Dataset]],
    summary: dsl.Output[dsl.HTML],
    table: dsl.Output[dsl.Dataset],
    numbers: dsl.Output[dsl.Metrics],
    record: dsl.Output[dsl.Artifact],
    title: str = "Summary",
) -> dsl.ContainerSpec:
    """Put the reports of all batches together: a page, a table, and the numbers as JSON.

    Only manifests are read, so that thousands of images take seconds.

    Args:
        reports: Batches as `report` writes them.
        title: Heading of the page.

    Returns:
        summary: The page: every image with its figures and a link to `<name>/report.html` beside
            it, images left out and why, accuracy pooled over all, time by stage.
        table: CSV, a row an image.
        numbers: JSON: images, pooled and mean accuracy, stages; its metadata are the totals.
        record: What was done, with times and versions.
    """
    return run_stage("summarize", image="imaging")
