"""The component ``predict_shard``: its interface."""

from kfp import dsl

from components.container import run_stage


@dsl.container_component
def predict_shard(
    plan: dsl.Input[dsl.Dataset],
    images: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    predicted: dsl.Output[dsl.Dataset],
    record: dsl.Output[dsl.Artifact],
    shard: int,
    batch_size: int = 8,
    device: str = "auto",
    precision: str = "float32",
    engine: str = "tensorflow",
    threads: int = 0,
    memory_mib: int = 1024,
) -> dsl.ContainerSpec:
    """Normalise one shard of a slide and run a model's network over it.

    What is predicted equals, bit for bit, that part of the whole slide's prediction. Heads that no
    planned compartment needs are not computed. Tiles without anything in them are predicted once
    for all. A task that was interrupted goes on where it was.

    Args:
        plan: The slides' plan, from plan_slide; its arrays are filled.
        images: The batch of images that was planned.
        model: Model folder, a TensorFlow SavedModel with its card.
        shard: Number of the shard, from 0.
        batch_size: Tiles predicted at once; halved by itself when memory runs out.
        device: Where the network runs; auto takes a GPU if there is one.
        precision: What convolutions are computed in; the heads are float32 in any case.
        engine: What computes the network; openvino is faster, and runs on CPUs alone.
        threads: CPU threads; 0 lets the engine choose.
        memory_mib: Memory to work in, in MiB, beyond what the program and the network take.

    Returns:
        predicted: Batch without arrays: says which shard is done.
        record: What was done, with times and versions.
    """
    return run_stage("predict_shard", image="tensorflow")
