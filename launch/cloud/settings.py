"""What a run in a cloud may be told; importing this takes no time."""

#: The settings of runs in a cloud, beside the pipeline's own.
SETTINGS = {
    "project": "Vertex AI: the project's id",
    "region": "Vertex AI: the region",
    "pipeline_root": "gs://bucket/folder for all that a run in a cloud reads and makes",
    "service_account": "the account that the tasks run as",
    "network": "Vertex AI: the network to be peered with",
    "kms_key": "Vertex AI: the key that encrypts what the run makes",
    "job_labels": "Vertex AI: key=value,… for bills and searches",
    "cache": "0 to make anew what an earlier run made of the same inputs",
    "wait": "1 to follow the run to its end and fetch its outputs",
    "host": "Kubeflow: its URL",
    "namespace": "Kubeflow: the user's namespace",
    "experiment": "Kubeflow: what the run is filed under",
    "accelerator": "GPU of network stages, as NVIDIA_L4, or none",
    "accelerators": "how many of them a task gets",
    "machine_type": "Vertex AI: the exact machine of network stages",
    "spot": "1 for machines that are cheap and can be taken away",
    "boot_disk_gb": "Vertex AI: size of the disk of network stages' machines",
    "hours": "after which a task of a network stage is ended",
    "retries": "how often a task is begun anew whose spot machine was taken away",
    "resources": "processors and memory by role or stage: measure=8/32G,…",
    "node_selector": "Kubeflow: label=value,… of the nodes for all tasks",
    "tolerations": "Kubeflow: key=value:effect,… of the nodes for all tasks",
    "shared_memory": "Kubeflow: size of /dev/shm of network stages",
    "volumes": "Kubeflow: claim:/path,… that every task sees",
    "deepcell_token_secret": "where the DeepCell token is: Vertex AI: "
    "projects/…/secrets/…/versions/…; Kubeflow: a Secret's name[:key]",
    "report_failure": "0 for a Kubeflow before 2.15, which knows no end of a run",
}
CLOUDS = ("vertex", "kubeflow")
