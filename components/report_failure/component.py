"""The component ``report_failure``: its interface."""

from kfp import dsl

from components.container import run_stage


@dsl.container_component
def report_failure(
    report: dsl.Output[dsl.Markdown],
    record: dsl.Output[dsl.Artifact],
    status: dsl.PipelineTaskFinalStatus,
    pipeline: str = "",
) -> dsl.ContainerSpec:
    """Say how a run ended, and where it failed.

    It is for a pipeline's exit handler, which runs it when all else has ended. What a failed stage
    said is known where its task's folder can be read (Vertex AI mounts it).

    Args:
        status: How the tasks ended; the platform gives it.
        pipeline: The pipeline's name.

    Returns:
        report: How the run ended, and of a failed one each task that failed and its one line.
        record: What was done, with times and versions.
    """
    return run_stage("report_failure", image="imaging")
