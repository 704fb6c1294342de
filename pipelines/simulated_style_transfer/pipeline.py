"""`simulated_style_transfer`: training and applying, tried on two volumes of known membranes."""

from typing import Any, NamedTuple

from kfp import dsl

from components.simulate_em.component import simulate_em
from components.train_style_transfer.component import train_style_transfer
from pipelines import transferring
from pipelines.described import described
from pipelines.hardware import PORTABLE, Hardware
from pipelines.parameters import chosen
from pipelines.style_transfer_training import pipeline as training

OUTPUTS = (*training.OUTPUTS, *transferring.OUTPUTS)


class Outputs(NamedTuple):
    """What the pipeline gives."""

    model: dsl.Model
    back: dsl.Model
    gate: dsl.Metrics
    page: dsl.HTML
    volume: dsl.Artifact
    transferred: dsl.Artifact
    shown: dsl.HTML


def build(hardware: Hardware = PORTABLE) -> Any:
    """Return the pipeline, its tasks placed on some hardware."""
    cpu, gpu = hardware["cpu"], hardware["gpu"]
    train_on_gpu = gpu.use(train_style_transfer)
    by_shards = transferring.transfer_by_shards(cpu, gpu)

    @dsl.pipeline(name="simulated-style-transfer")
    @described
    def simulated_style_transfer(
        volume_shape: str = "20,224,224",
        planes: str = "z",
        steps: int = 300,
        batch_size: int = 4,
        crop: int = 108,
        volume_steps: int = 0,
        volume_batch_size: int = 1,
        sections: int = 0,
        width: int = 8,
        depth: int = 2,
        residual: bool = False,
        objective: str = "least_squares",
        adversarial: float = 1.0,
        cycle: float = 2.0,
        identity: float = 1.0,
        learning_rate: float = 0.001,
        checkpoint_every: int = 50,
        warp: float = 0.0,
        missing: float = 0.0,
        folds: float = 0.0,
        dark: float = 0.0,
        task_steps: int = 200,
        block: int = 112,
        levels: int = 0,
        most_shards: int = 2,
        engine: str = "auto",
        seed: int = 0,
        name: str = "simulated-style-transfer",
    ) -> Outputs:
        """Make two synthetic volumes, train a network from one to the other, apply it.

        Args:
            volume_shape: Voxels along z, y and x of each volume, with commas between.
            planes: Axes across which planes are cut: `z`, `y`, `x` or `zyx`.
            batch_size: Planes of each volume in a batch.
            volume_steps: Batches of volumes after those of planes, whose `volume_shape` has to have
                room for them.
            volume_batch_size: Volumes of each of X and Y in such a batch.
            sections: Of such a volume; 0 is as many as it takes.
            block: Side of the blocks in which the network is applied, a multiple of its stride, 4
                at depth 2.
            levels: Resolutions of the transferred volume; 0 as many as it takes until no side is
                longer than 512 voxels.
            most_shards: At most so many tasks share the blocks.
            engine: What computes the network: `tensorflow`, `openvino` or `onnxruntime`; `auto`
                takes the fastest that is there and equal.
            seed: Of tissue, noise and training.
            name: The network's name.

        Returns:
            model: Network folder from X to Y.
            back: Network folder from Y to X.
            gate: The gate's table, what was chosen, and the losses' curve.
            page: The gate's table, samples, spectra and curves.
            volume: Folder with the plan and the transferred volume.
            transferred: Where the volume lies, and a state of Neuroglancer that shows it.
            shown: Cuts through source and result, and a link to Neuroglancer.
        """
        given = dict(locals())
        made = transferring.stored(cpu, simulate_em(shape=volume_shape, seed=seed))
        places = {key: made.outputs[key] for key in ("x", "y", "x_truth", "y_truth")}
        trained = transferring.stored(
            gpu, train_on_gpu(**places, **chosen(given, transferring.TRAINED))
        )
        done = transferring.transfer(
            cpu,
            by_shards,
            trained.outputs["model"],
            {
                "volume": places["x"],
                "mask": "",
                "block": block,
                "planes": "",
                "black": 0.0,
                "white": 0.0,
                "scale": 0,
                "levels": levels,
                "batch_size": 8,
                "engine": engine,
                "trust_model": False,
            },
            destination="",
            most_shards=most_shards,
        )
        return Outputs(
            trained.outputs["model"],
            trained.outputs["back"],
            trained.outputs["metrics"],
            trained.outputs["report"],
            *done,
        )

    return simulated_style_transfer
