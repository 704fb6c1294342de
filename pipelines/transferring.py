"""From a network and a volume to a transferred volume: planned, made by many tasks, shown."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kfp import dsl

from components.finish_transfer.component import finish_transfer
from components.plan_transfer.component import plan_transfer
from components.transfer_style.component import transfer_style
from pipelines.hardware import Machine
from pipelines.outputs import OutputFile

#: Parameters of `train_style_transfer`, where a pipeline has them under the same name.
TRAINED = (
    *("planes", "steps", "batch_size", "crop", "width", "depth", "residual"),
    *("volume_steps", "volume_batch_size", "sections"),
    *("objective", "adversarial", "cycle"),
    *("identity", "learning_rate", "checkpoint_every", "task_steps", "seed", "name"),
    *("warp", "missing", "folds", "dark", "precision"),
    *("x", "y", "x_truth", "y_truth", "x_masks", "y_masks", "x_boxes", "y_boxes"),
    *("held_out", "checkpoints", "prior", "prior_digest", "trust_model"),
    *("base", "base_digest", "base_back", "base_back_digest"),
    *("task_network", "task_network_digest", "task_head"),
    *("version", "description", "licence"),
)
#: Parameters of `plan_transfer` and of `transfer_style`, where a pipeline has the same name.
PLANNED = ("volume", "mask", "block", "planes", "black", "white", "scale", "levels")
APPLIED = (*PLANNED, "batch_size", "engine", "trust_model")

OUTPUTS = (
    OutputFile("volume", "", "volume"),
    OutputFile("transferred", "", "transfer"),
    OutputFile("shown", "", "transfer.html"),
)


class Shown(NamedTuple):
    """What the tasks of all shards give together."""

    transferred: dsl.Artifact
    shown: dsl.HTML


class Transferred(NamedTuple):
    """What a volume came to, as KFP hands it on.

    Attributes:
        volume: the folder of the plan, which holds the volume where no destination was given.
        transferred: where the volume lies, and the viewer's state.
        shown: a page that shows it beside its source.
    """

    volume: Any
    transferred: Any
    shown: Any


def transfer(
    cpu: Machine, by_shards: Any, model: Any, given: Mapping[str, Any], **planned: Any
) -> Transferred:
    """Add the tasks that apply a network to a volume.

    Args:
        cpu: what plans.
        by_shards: as `transfer_by_shards` gives it, called before the pipeline is begun.
        model: the network.
        given: by name what `APPLIED` lists, all of them.
        **planned: what `plan_transfer` alone takes: `destination`, `most_shards`.
    """
    asked = {name: given[name] for name in PLANNED}
    plan = stored(cpu, plan_transfer(model=model, **asked, **planned))
    shards = by_shards(
        model=model,
        destination=plan.outputs["target"],
        shards=plan.outputs["shards"],
        count=plan.outputs["tasks"],
        **{name: given[name] for name in APPLIED},
    )
    return Transferred(
        plan.outputs["place"], shards.outputs["transferred"], shards.outputs["shown"]
    )


def stored(machine: Machine, task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Place a task that reads or writes a volume by its URI: it is never taken from the cache."""
    return machine.place(task.set_caching_options(False))


def transfer_by_shards(cpu: Machine, gpu: Machine) -> Any:
    """Return the pipeline of a volume's shards: made side by side, then shown."""
    transfer_on_gpu = gpu.use(transfer_style)

    # kfp.local cannot loop over an upstream task's list, but over a pipeline's parameter it can.
    @dsl.pipeline(name="transfer-shards")
    def transfer_shards(
        model: dsl.Input[dsl.Model],
        destination: str,
        shards: list[int],
        count: int,
        volume: str,
        mask: str,
        block: int,
        planes: str,
        black: float,
        white: float,
        scale: int,
        levels: int,
        batch_size: int,
        engine: str,
        trust_model: bool,
    ) -> Shown:
        with dsl.ParallelFor(shards, name="transfer") as shard:
            made = stored(
                gpu,
                transfer_on_gpu(
                    model=model,
                    destination=destination,
                    shard=shard,
                    shards=count,
                    volume=volume,
                    mask=mask,
                    block=block,
                    planes=planes,
                    black=black,
                    white=white,
                    scale=scale,
                    levels=levels,
                    batch_size=batch_size,
                    engine=engine,
                    trust_model=trust_model,
                ),
            )
        shown = stored(
            cpu,
            finish_transfer(
                shards=dsl.Collected(made.outputs["transferred"]),
                transfer_records=dsl.Collected(made.outputs["record"]),
            ),
        )
        return Shown(transferred=shown.outputs["transferred"], shown=shown.outputs["report"])

    return transfer_shards
