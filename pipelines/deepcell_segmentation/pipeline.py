"""`deepcell_segmentation`: images in, cells out, over batches of images."""

from typing import Any

from kfp import dsl

from components.fetch_model.component import fetch_model
from components.predict.component import predict
from components.tiff_to_npz.component import tiff_to_npz
from pipelines import tail
from pipelines.described import described
from pipelines.hardware import PORTABLE, Hardware
from pipelines.segmenting import segment

OUTPUTS = tail.OUTPUTS


def build(hardware: Hardware = PORTABLE) -> Any:
    """Return the pipeline, its tasks placed on some hardware."""
    cpu, gpu = hardware["cpu"], hardware["gpu"]
    predict_on_gpu = gpu.use(predict)

    @dsl.pipeline(name="deepcell-segmentation")
    @described
    def deepcell_segmentation(
        batches: list[list[dict[str, str]]],
        model: str = "",
        model_digest: str = "",
        channels: str = "",
        measure_channels: str = "",
        mpp: float = 0.0,
        diameter: str = "",
        z: str = "",
        z_step: float = 0.0,
        stitch_threshold: float = 0.25,
        orientations: int = 1,
        t: str = "",
        series: int = -1,
        batch_size: int = 8,
        precision: str = "float32",
        engine: str = "auto",
        compartment: str = "",
        method: str = "",
        parameters: dict = {},
        truth_kind: str = "",
        truth_compartment: str = "",
        label_dtype: str = "int32",
        export: str = "",
        on_bad_image: str = "fail",
        trust_model: bool = False,
    ) -> tail.Outputs:
        """Segment microscopy images into cells, measure them, and score them where truth is given.

        Args:
            model: Model by name, path or URI; empty for the one that ships. `voronoi_otsu` needs no
                network.
            channels: Channels to segment, by name or 0-based index, in the model's order.
            diameter: The objects' diameter in pixels, which is brought to the one that the model
                was trained on; `auto` estimates it. Empty goes by the pixel size.
            z: Plane of a stack, 0-based; `all` for the volume; empty where there is only one.
            stitch_threshold: Of a volume whose planes a network is given one by one: objects of
                neighbouring planes are one from this intersection over union on.
            orientations: Of a volume and a network of planes whose method is `cellpose`: 3 shows it
                planes across Z, Y and X, and adds up what it gives; 1 shows it those across Z.
            compartment: `nuclear`, `whole-cell`, `both` or another kind that the model has, or
                several with commas between; empty for the model's own.

        Returns:
            label_images: Label images as OME-TIFF.
            measurements: Measurements of the cells, as CSV and Parquet.
            scores: Metrics against the truth, as JSON.
            reports: Reports and overlays of the images.
            exports: Results in the forms of other programs, those that were asked for.
            summary: One page over all images.
            table: The summary as CSV, one row an image.
            numbers: The summary as JSON.
        """
        fetched = cpu.place(fetch_model(source=model, digest=model_digest, trust_model=trust_model))
        with dsl.ParallelFor(batches, name="batches") as items:
            converted = cpu.place(
                tiff_to_npz(
                    items=items,
                    channels=channels,
                    measure_channels=measure_channels,
                    mpp=mpp,
                    z=z,
                    z_step=z_step,
                    t=t,
                    series=series,
                    truth_kind=truth_kind,
                    on_bad_image=on_bad_image,
                )
            )
            segmented = segment(
                cpu,
                gpu,
                predict_on_gpu,
                images=converted.outputs["images"],
                model=fetched.outputs["model"],
                diameter=diameter,
                compartment=compartment,
                method=method,
                parameters=parameters,
                stitch_threshold=stitch_threshold,
                network={
                    "batch_size": batch_size,
                    "precision": precision,
                    "engine": engine,
                    "trust_model": trust_model,
                    "orientations": orientations,
                },
                on_bad_image=on_bad_image,
            )
            results = tail.after_labels(
                cpu,
                images=converted.outputs["images"],
                labels=segmented.labels,
                truth=converted.outputs["truth"],
                records={"conversion": converted.outputs["record"], **segmented.records},
                label_dtype=label_dtype,
                export=export,
                truth_compartment=truth_compartment,
                on_bad_image=on_bad_image,
            )
        return tail.over_all_batches(cpu, results)

    return deepcell_segmentation
