"""`style_transfer`: a volume of electron microscopy of any size made to look like another."""

from typing import Any, NamedTuple

from kfp import dsl

from components.fetch_model.component import fetch_model
from pipelines import transferring
from pipelines.described import described
from pipelines.hardware import PORTABLE, Hardware

OUTPUTS = transferring.OUTPUTS


class Outputs(NamedTuple):
    """What the pipeline gives."""

    volume: dsl.Artifact
    transferred: dsl.Artifact
    shown: dsl.HTML


def build(hardware: Hardware = PORTABLE) -> Any:
    """Return the pipeline, its tasks placed on some hardware."""
    cpu, gpu = hardware["cpu"], hardware["gpu"]
    by_shards = transferring.transfer_by_shards(cpu, gpu)

    @dsl.pipeline(name="style-transfer")
    @described
    def style_transfer(
        model: str,
        volume: str,
        model_digest: str = "",
        destination: str = "",
        mask: str = "",
        block: int = 0,
        planes: str = "",
        black: float = 0.0,
        white: float = 0.0,
        scale: int = 0,
        levels: int = 0,
        most_shards: int = 16,
        batch_size: int = 8,
        engine: str = "auto",
        trust_model: bool = False,
    ) -> Outputs:
        """Apply a style-transfer network to a volume, its blocks shared among tasks, without seams.

        However the blocks are shared, the result is that of the whole volume.

        Args:
            model: Network by path or URI, as style_transfer_training gives it.
            volume: Path or URI: precomputed, Zarr, N5, DVID, a TIFF stack.
            destination: Path or URI to write to, precomputed, or OME-Zarr if it ends in `.zarr`;
                empty is OME-Zarr among the run's outputs.
            mask: Path or URI of a volume of the same shape, 0 where the original's values are kept.
            block: Side of a block in voxels, a multiple of the network's stride; 0 is what the card
                says, 256 of planes and 160 of a network of volumes, or less where that is less
                work.
            planes: Axes across which planes are fed: `z`, `y`, `x` or `zyx`; empty is what the card
                says.
            black: Value that becomes 0, for volumes that are not uint8.
            white: Value that becomes 255; 0 with black 0 takes uint8 as it is.
            scale: Of a volume with several resolutions which, 0 is the finest.
            levels: Resolutions that are written; 0 as many as it takes until no side is longer than
                512 voxels, 1 the finest alone.
            most_shards: At most so many tasks share the volume's blocks.
            batch_size: Planes a call of the network; a network of volumes takes a block.
            engine: What computes the network: `tensorflow`, `openvino` or `onnxruntime`; `auto`
                takes the fastest that is there and equal.

        Returns:
            volume: Folder with the plan; and with the volume, where no destination was given.
            transferred: Where the volume lies, and a state of Neuroglancer that shows it.
            shown: Cuts through source and result, and a link to Neuroglancer.
        """
        given = dict(locals())
        fetched = cpu.place(fetch_model(source=model, digest=model_digest, trust_model=trust_model))
        done = transferring.transfer(
            cpu,
            by_shards,
            fetched.outputs["model"],
            given,
            destination=destination,
            most_shards=most_shards,
        )
        return Outputs(*done)

    return style_transfer
