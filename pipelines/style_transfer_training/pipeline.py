"""`style_transfer_training`: two volumes in, a network that makes one look like the other out."""

from typing import Any, NamedTuple

from kfp import dsl

from components.train_style_transfer.component import train_style_transfer
from pipelines.described import described
from pipelines.hardware import PORTABLE, Hardware
from pipelines.outputs import OutputFile
from pipelines.parameters import chosen
from pipelines.transferring import TRAINED, stored

OUTPUTS = (
    OutputFile("model", "", "model"),
    OutputFile("back", "", "back"),
    OutputFile("gate", "", "gate.json"),
    OutputFile("page", "", "style-transfer.html"),
)


class Outputs(NamedTuple):
    """What the pipeline gives."""

    model: dsl.Model
    back: dsl.Model
    gate: dsl.Metrics
    page: dsl.HTML


def build(hardware: Hardware = PORTABLE) -> Any:
    """Return the pipeline, its tasks placed on some hardware."""
    gpu = hardware["gpu"]
    train_on_gpu = gpu.use(train_style_transfer)

    @dsl.pipeline(name="style-transfer-training")
    @described
    def style_transfer_training(
        x: str,
        y: str,
        x_truth: str = "",
        y_truth: str = "",
        x_masks: str = "",
        y_masks: str = "",
        x_boxes: str = "",
        y_boxes: str = "",
        held_out: float = 0.25,
        planes: str = "zyx",
        precision: str = "float32",
        steps: int = 600,
        batch_size: int = 6,
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
        checkpoint_every: int = 100,
        warp: float = 0.0,
        missing: float = 0.0,
        folds: float = 0.0,
        dark: float = 0.0,
        base: str = "",
        base_digest: str = "",
        base_back: str = "",
        base_back_digest: str = "",
        prior: str = "",
        prior_digest: str = "",
        task_network: str = "",
        task_network_digest: str = "",
        task_head: str = "",
        trust_model: bool = False,
        task_steps: int = 200,
        checkpoints: str = "",
        seed: int = 0,
        name: str = "style-transfer",
        version: str = "1",
        description: str = "",
        licence: str = "",
    ) -> Outputs:
        """Train a network that makes volume X look like volume Y, chosen by what a task finds.

        Args:
            x: Path or URI of the source volume; or of several, with spaces between, quoted as a
                shell wants it, `@2` behind one that is drawn twice as often.
            y: Path or URI of the target volume, or of several.
            x_truth: Path or URI of a volume of X's shape, not 0 where there is what a task finds
                (membranes), with `y_truth` the gate chooses what is returned; of several volumes
                as many in their order, `-` where it is not known.
            y_truth: The same of Y.
            x_masks: Volumes that are not 0 where X is to be read, as large or coarser by whole
                numbers; as many as X has, `-` for none.
            y_masks: The same of Y.
            x_boxes: Boxes within which X is to be read, `z0,y0,x0,z1,y1,x1` in voxels, several
                with `;` between; for each volume of X, `-` for all of it.
            y_boxes: The same of Y.
            held_out: Last part along z of each volume of X that no training sees.
            planes: Axes across which planes are cut: `z` where sections are thick, `zyx` for
                isotropic volumes.
            precision: What the networks compute in while they are trained: `float32`,
                `mixed_bfloat16` or `mixed_float16`.
            batch_size: Planes of each volume in a batch.
            volume_steps: Batches of volumes after those of planes, with generators that see the
                sections beside their own, too; 0 for none.
            volume_batch_size: Volumes of each of X and Y in such a batch.
            sections: Of such a volume; 0 is as many as it takes.
            base: Network from X to Y of an earlier training, by path or URI, to go on from, of the
                same width, depth and kind. Empty begins anew.
            base_digest: Digest of a base that is a file.
            base_back: The network from Y to X of the same training.
            base_back_digest: Digest of that one.
            prior: Network of one's own that knows Y (a segmenter of its membranes, say), by path,
                URI or name: a SavedModel of planes of one channel. It is frozen, and the
                discriminator of Y sees what it finds beside each plane. Empty: none.
            prior_digest: Digest of a prior that is a file.
            task_network: Network of one's own that finds in Y what X's truth shows, by path, URI or
                name: the gate scores by it, and Y needs no truth. Empty trains one on Y.
            task_network_digest: Digest of a task network that is a file.
            task_head: Which head of its card says what it finds, `NAME` or `NAME:CHANNEL` from 0;
                empty where it has one head of probabilities, of one channel.
            checkpoints: Folder to keep checkpoints in, from which a training that was killed goes
                on; empty keeps none.
            name: The network's name.
            version: The network's version.

        Returns:
            model: Network folder from X to Y.
            back: Network folder from Y to X.
            gate: The gate's table, what was chosen, and the losses' curve.
            page: The gate's table, samples, spectra and curves.
        """
        trained = stored(gpu, train_on_gpu(**chosen(locals(), TRAINED)))
        return Outputs(
            trained.outputs["model"],
            trained.outputs["back"],
            trained.outputs["metrics"],
            trained.outputs["report"],
        )

    return style_transfer_training
