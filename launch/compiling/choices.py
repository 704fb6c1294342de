"""What a user chooses of a run's hardware: read from settings, and checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from cellmill.arrays.files import absolute_place
from cellmill.errors import BadInput
from cellmill.models.token import SECRET_FORM

T = TypeVar("T")
_CPU = r"[1-9]\d*(\.\d+)?|[1-9]\d*m"
_MEMORY = r"[1-9]\d*(Ki|Mi|Gi|Ti|K|M|G|T)"
_LABEL = r"([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?"
_VALUE = r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?"
_EFFECTS = "NoSchedule|PreferNoSchedule|NoExecute"
_NAME = r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?"


@dataclass(frozen=True)
class Resources:
    """Processors and memory of a role (`cpu`, `gpu`) or a stage, as Kubernetes writes them."""

    cpu: str
    memory: str


@dataclass(frozen=True)
class Toleration:
    """What a pod puts up with of a node. Without a value, any."""

    key: str
    value: str = ""
    effect: str = ""


@dataclass(frozen=True)
class Pods:
    """What Kubernetes alone knows of tasks.

    Attributes:
        node_selector: labels that a node must have.
        tolerations: taints that a node may have.
        shared_memory: size of `/dev/shm` of network stages; the table's by default.
        volumes: claims (PersistentVolumeClaim) and where every task sees each.
        secret: name and key of the Secret that holds the DeepCell token; None for no such thing.
    """

    node_selector: tuple[tuple[str, str], ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    shared_memory: str = ""
    volumes: tuple[tuple[str, str], ...] = ()
    secret: tuple[str, str] | None = None


@dataclass(frozen=True)
class Choice:
    """What a user chooses of the hardware; the table in `pipelines/hardware.py` has the rest.

    Attributes:
        accelerator: type of GPU of network stages, as Vertex AI names it; `none` for the CPU;
            empty for the table's.
        count: how many a task gets.
        machine: exact machine type; empty for one that fits.
        spot: take machines that are cheap and can be taken away.
        boot_disk_gb: size of an exact machine's disk; 0 for the table's.
        hours: after which a task of a network stage is ended; 0 for the table's.
        retries: how often a task is begun anew whose machine was taken away; -1 for the table's.
        resources: processors and memory by role or stage, in the place of the table's.
        pods: what Kubernetes alone knows.
        token_secret: the Secret Manager's name of the DeepCell token, on Vertex AI.
        service_account: the account of a task that is a job of its own on Vertex AI, which does not
            take the run's.
        network: the same for the network.
        kms_key: the same for the key of encryption.
        region: where the machines are, for what they cost.
        stores: places below which the arrays of the run lie that are not beside their batches;
            none where that is not known.
    """

    accelerator: str = ""
    count: int = 1
    machine: str = ""
    spot: bool = False
    boot_disk_gb: int = 0
    hours: float = 0.0
    retries: int = -1
    resources: tuple[tuple[str, Resources], ...] = ()
    pods: Pods = Pods()
    token_secret: str = ""
    service_account: str = ""
    network: str = ""
    kms_key: str = ""
    region: str = ""
    stores: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether it takes an exact machine to have it on Vertex AI."""
        return bool(self.spot or self.machine or self.boot_disk_gb or self.hours)


def choice_of(given: Mapping[str, str], target: str = "vertex") -> Choice:
    """Read what the user chose of the hardware: `ACCELERATOR`, `SPOT` and so on.

    Args:
        given: the settings, by name in small letters.
        target: `vertex` or `kubeflow`.

    Raises:
        BadInput: a setting is not of its form, or is the other platform's.
    """
    count = _number("ACCELERATORS", given, "a whole number from 1", int, 1)
    disk = _number("BOOT_DISK_GB", given, "a whole number from 50 to 64000", int, 0)
    hours = _number("HOURS", given, "a number above 0, at most 168", float, 0.0)
    retries = _number("RETRIES", given, "a whole number from 0 to 10", int, -1)
    for name, value, least, most, expected in (
        ("ACCELERATORS", count, 1, 16, "a whole number from 1"),
        ("BOOT_DISK_GB", disk or 50, 50, 64000, "a whole number from 50 to 64000"),
        ("HOURS", hours, 0, 168, "a number above 0, at most 168"),
        ("RETRIES", max(retries, 0), 0, 10, "a whole number from 0 to 10"),
    ):
        if not least <= value <= most:
            raise BadInput(name, expected=expected, found=given[name.lower()])
    spot = flag("SPOT", given.get("spot", ""))
    if retries >= 0 and not spot:
        raise BadInput("RETRIES", expected="SPOT=1 beside it", found="machines that stay")
    secret = given.get("deepcell_token_secret", "")
    _refuse_the_others(given, target)
    if secret and target == "vertex" and not SECRET_FORM.fullmatch(secret):
        raise BadInput(
            "DEEPCELL_TOKEN_SECRET",
            expected="projects/…/secrets/…/versions/…",
            found=_shown(secret),
        )
    return Choice(
        accelerator=given.get("accelerator", ""),
        count=count,
        machine=given.get("machine_type", ""),
        spot=spot,
        boot_disk_gb=disk,
        hours=hours,
        retries=retries,
        resources=_resources(given.get("resources", "")),
        pods=_pods(given) if target == "kubeflow" else Pods(),
        token_secret=secret if target == "vertex" else "",
        service_account=given.get("service_account", ""),
        network=given.get("network", ""),
        kms_key=given.get("kms_key", ""),
        region=given.get("region", ""),
        stores=tuple(
            absolute_place(given[key]) for key in ("pipeline_root", "store") if given.get(key)
        ),
    )


def flag(name: str, text: str, *, default: bool = False) -> bool:
    """Read a flag.

    Raises:
        BadInput: it is neither yes nor no.
    """
    if text.lower() in ("", "1", "true", "yes", "0", "false", "no"):
        return text.lower() in ("1", "true", "yes") if text else default
    raise BadInput(name, expected="0 or 1", found=repr(text))


def _refuse_the_others(given: Mapping[str, str], target: str) -> None:
    others = {
        "vertex": ("node_selector", "tolerations", "shared_memory", "volumes"),
        "kubeflow": ("boot_disk_gb",),
    }
    for key in others.get(target, ()):
        if given.get(key):
            raise BadInput(key.upper(), expected=f"none on {target}", found=given[key])


def _number(
    name: str, given: Mapping[str, str], expected: str, kind: Callable[[str], T], default: T
) -> T:
    text = given.get(name.lower(), "")
    if not text:
        return default
    try:
        value = kind(text)
    except ValueError:
        raise BadInput(name, expected=expected, found=text) from None
    if not value and name not in ("RETRIES",):
        raise BadInput(name, expected=expected, found=text)
    return value


def _parts(name: str, text: str, form: str, expected: str) -> list[re.Match[str]]:
    found = []
    for part in filter(None, text.split(",")):
        match = re.fullmatch(form, part)
        if not match:
            raise BadInput(name, expected=expected, found=part)
        found.append(match)
    return found


def _resources(text: str) -> tuple[tuple[str, Resources], ...]:
    form = rf"(?P<what>\w+)=(?P<cpu>{_CPU})/(?P<memory>{_MEMORY})"
    matches = _parts("RESOURCES", text, form, "stage=processors/memory,… as measure=8/32G")
    return tuple((m["what"], Resources(m["cpu"], m["memory"])) for m in matches)


def _pods(given: Mapping[str, str]) -> Pods:
    selector = _parts(
        "NODE_SELECTOR",
        given.get("node_selector", ""),
        rf"(?P<key>{_LABEL})=(?P<value>{_VALUE})",
        "label=value,…",
    )
    tolerations = _parts(
        "TOLERATIONS",
        given.get("tolerations", ""),
        rf"(?P<key>{_LABEL})(=(?P<value>{_VALUE}))?(:(?P<effect>{_EFFECTS}))?",
        "key=value:effect,…",
    )
    volumes = _parts(
        "VOLUMES",
        given.get("volumes", ""),
        rf"(?P<claim>{_NAME}):(?P<path>/[^:\s]+)",
        "claim:/path,…",
    )
    memory = given.get("shared_memory", "")
    if memory and not re.fullmatch(_MEMORY, memory):
        raise BadInput("SHARED_MEMORY", expected="a size, as 8Gi", found=memory)
    secret = given.get("deepcell_token_secret", "")
    named = re.fullmatch(rf"(?P<name>{_NAME})(:(?P<key>[A-Za-z0-9._-]+))?", secret)
    if secret and not named:
        raise BadInput(
            "DEEPCELL_TOKEN_SECRET", expected="a Secret's name, or name:key", found=_shown(secret)
        )
    return Pods(
        tuple((m["key"], m["value"]) for m in selector),
        tuple(Toleration(m["key"], m["value"] or "", m["effect"] or "") for m in tolerations),
        memory,
        tuple((m["claim"], m["path"]) for m in volumes),
        (named["name"], named["key"] or "token") if named else None,
    )


def _shown(secret: str) -> str:
    """What may be a token, given by mistake, is not shown."""
    return f"{len(secret)} characters of another form"
