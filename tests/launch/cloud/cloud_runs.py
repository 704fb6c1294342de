"""A run in a cloud as tests ask for it, and what it leaves."""

from cellmill.arrays.batch_writer import BatchWriter
from cellmill.version import __version__
from components.container_images import ContainerImage, read_lock
from launch.cloud import running as clouds
from launch.runs.tables import outputs_of

IMAGES = {
    name: ContainerImage(
        f"europe-docker.pkg.dev/p/cellmill-{name}", __version__, "sha256:" + "a" * 64
    )
    for name in read_lock()
}
NAME = "deepcell_segmentation"
GIVEN = {
    "project": "some-project",
    "region": "europe-west4",
    "pipeline_root": "gs://some-bucket/runs",
    "service_account": "runner@some-project.iam.gserviceaccount.com",
    "network": "projects/123/global/networks/lab",
    "kms_key": "projects/p/locations/europe-west4/keyRings/r/cryptoKeys/k",
    "job_labels": "team=imaging,cost=42",
    "wait": "1",
}
#: Tasks that write into a store which other tasks read, and the pipelines that have such.
STORED = {
    *("tiff-to-npz", "plan-slide", "predict-shard"),
    *("plan-segmentation", "segment-shard", "stitch"),
    *("plan-deconvolution", "deconvolve-shard", "gather-deconvolved"),
}
WITH_STORES = {"slide_segmentation", "large_restoration"}
ON_KUBEFLOW = {"pipeline_root": "gs://some-bucket/runs", "wait": "1"}


def results(folder):
    """What the tasks that give the pipeline's outputs would leave, by task and output."""
    made = {}
    suffixes = {}
    for row in outputs_of(NAME):
        suffixes.setdefault(row.output, []).append(row)
    tasks = {"label_images": "export-labels", "measurements": "measure", "scores": "metrics"}
    tasks["exports"] = "export-results"
    for output, rows in suffixes.items():
        if not rows[0].per_image:
            path = folder / "summarize" / output
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}" if output == "numbers" else output)
            made["summarize", output] = [path]
            continue
        task = tasks.get(output, "report")
        made[task, output] = []
        for image in ("a", "b"):
            path = folder / task / image / output
            with BatchWriter(path) as out:
                for row in rows:
                    with out.open(image, row.suffix) as file:
                        file.write(f"{output} {image}".encode())
            made[task, output].append(path)
    return made


def in_bucket(bucket, tmp_path, root):
    """Put the results there; their URIs."""
    uris = {}
    for (task, output), paths in results(tmp_path / "made").items():
        uris[task, output] = []
        for number, path in enumerate(paths):
            uri = f"{root}/{task}/{number}/{output}"
            bucket.put_folder(path, uri)
            uris[task, output].append(uri)
    return uris


def check_folder(run):
    for image in ("a", "b"):
        assert (run / image / "labels.tif").read_text() == f"label_images {image}"
        assert (run / image / "report.html").read_text() == f"reports {image}"
    assert (run / "summary.html").read_text() == "summary"


def cached(spec):
    """The tasks that may be taken from a cache, in all graphs of a pipeline."""
    graphs = [spec["root"], *spec["components"].values()]
    return {
        name
        for graph in graphs
        for name, task in graph.get("dag", {}).get("tasks", {}).items()
        if task.get("cachingOptions", {}).get("enableCache")
    }


def run(target, arguments, tmp_path, given, folder="the run"):
    return clouds.run_in_cloud(target, NAME, arguments, tmp_path / folder, given, IMAGES)
