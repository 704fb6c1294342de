"""`deepcell_segmentation`: images in, cells out, over batches of images."""

from typing import Any

from kfp import dsl

from components.fetch_model.component import fetch_model
from components.predict.component import predict
from components.tiff_to_npz.component import tiff_to_npz
from pipelines import tail
from pipelines.hardware import PORTABLE, Hardware
from pipelines.segmenting import segment

OUTPUTS = tail.OUTPUTS


def build(hardware: Hardware = PORTABLE) -> Any:
    """Return the pipeline, its tasks placed on some hardware."""
    cpu, gpu = hardware["cpu"], hardware["gpu"]
    predict_on_gpu = gpu.use(predict)

    @dsl.pipeline(name="deepcell-segmentation")
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
            batches: Batches of images; each image has `image`, `truth`, `name` and digests.
            model: Model by name, path or URI; empty for the one that ships. `voronoi_otsu` needs no
                network.
            model_digest: Digest of a model that is a file, so that changed bytes miss the cache.
            channels: Channels to segment, by name or 0-based index, in the model's order.
            measure_channels: Further channels to measure; `all` for every one.
            mpp: Pixel size in microns, where the file does not say; 0 for unknown.
            diameter: The objects' diameter in pixels, which is brought to the one that the model
                was trained on; `auto` estimates it. Empty goes by the pixel size.
            z: Plane of a stack, 0-based; `all` for the volume; empty where there is only one.
            z_step: Microns between the planes of a stack, where the file does not say; 0 for
                unknown.
            stitch_threshold: Of a volume whose planes a network is given one by one: objects of
                neighbouring planes are one from this intersection over union on.
            orientations: Of a volume and a network of planes whose method is `cellpose`: 3 shows it
                planes across Z, Y and X, and adds up what it gives; 1 shows it those across Z.
            t: Time point of a series, 0-based; `all` for each as an image of its own; empty where
                there is only one.
            series: Image of a file that holds several, 0-based; -1 for the only or largest one.
            batch_size: Tiles predicted at a time.
            precision: Compute type of the network: `float32` or a mixed one.
            engine: What computes the network: `tensorflow`, `openvino` or `onnxruntime`; `auto`
                takes the fastest that is there and gives the same heads.
            compartment: `nuclear`, `whole-cell` or `both`; empty for the model's own.
            method: How objects are found; empty for the model's own way.
            parameters: Parameters of the method in place of the model's, by name, a JSON object.
            truth_kind: What truth files are: `labels`, `mask`, `colours` or `planes`; empty for
                what each says of itself.
            truth_compartment: What truth of one plane shows; empty for whatever is segmented.
            label_dtype: `int32`, or `uint16` where the labels fit.
            export: Forms for other programs, with commas between: `geojson`, `anndata`,
                `spatialdata`, `cellpose`, `rois`; of a time series `tracking`.
            on_bad_image: `fail` the run, or `skip` the image and go on.
            trust_model: Load a network even if it could do more than compute: read files, run code.

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
