"""Finds what is wired to the wrong input in a compiled pipeline: labels where images are wanted.

KFP compares schema titles, and does so when a pipeline is composed. Here kinds are compared as
well, and the wiring is that of the YAML, through loops and pipelines within pipelines. Of a task
whose description a vendor's wrapper dropped (a custom job on Vertex AI) no kind is known; the
portable rendering, which has the same graph, has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from launch.compiling.kinds import kinds_in

_ANYTHING = "system.Artifact"


@dataclass(frozen=True)
class ArtifactType:
    """What an artifact is, or an input takes.

    Attributes:
        title: KFP's schema title; empty where it is not known.
        kinds: what cellmill calls it; none where that is not known.
        origin: where it comes from, as `task.output`.
    """

    title: str = ""
    kinds: tuple[str, ...] = ()
    origin: str = ""

    def __str__(self) -> str:
        return " or ".join(self.kinds) or self.title

    def takes(self, other: ArtifactType) -> bool:
        """Whether an input of this type may be given an artifact of the other."""
        if self.kinds and other.kinds:
            return set(other.kinds) <= set(self.kinds)
        titles = {self.title, other.title}
        return len(titles) == 1 or bool(titles & {"", _ANYTHING})


_UNKNOWN = ArtifactType()


def lint_kinds(spec: Mapping[str, Any]) -> Iterator[str]:
    """Yield each input of a task that is given an artifact of another kind than it takes.

    Args:
        spec: a compiled pipeline; what is missing in it is for others to say.
    """
    components = spec.get("components", {})
    yield from _walk("root", spec["root"], components, {}, ())


def _walk(
    name: str,
    owner: Mapping[str, Any],
    components: Mapping[str, Any],
    given: Mapping[str, ArtifactType],
    outer: tuple[str, ...],
) -> Iterator[str]:
    for task, used in owner["dag"]["tasks"].items():
        reference = used["componentRef"]["name"]
        component = components.get(reference, {})
        wanted = component.get("inputDefinitions", {}).get("artifacts", {})
        found = {
            key: _source(source, owner, components, given)
            for key, source in used.get("inputs", {}).get("artifacts", {}).items()
        }
        if "dag" in component:
            if reference not in outer:
                yield from _walk(reference, component, components, found, (*outer, reference))
            continue
        for key, type_ in found.items():
            expected = _declared(wanted.get(key, {}))
            if not expected.takes(type_):
                yield (
                    f"{name}: task '{task}': input '{key}': expected {expected}, "
                    f"found {type_} (from '{type_.origin}')"
                )


def _source(
    source: Mapping[str, Any],
    owner: Mapping[str, Any],
    components: Mapping[str, Any],
    given: Mapping[str, ArtifactType],
) -> ArtifactType:
    if outer := source.get("componentInputArtifact"):
        return given.get(outer, _UNKNOWN)
    made = source.get("taskOutputArtifact")
    if not made:
        return _UNKNOWN
    return _output(made["producerTask"], made["outputArtifactKey"], owner, components, 0)


def _output(
    task: str, key: str, owner: Mapping[str, Any], components: Mapping[str, Any], depth: int
) -> ArtifactType:
    used = owner["dag"]["tasks"].get(task)
    component = components.get(used["componentRef"]["name"], {}) if used else {}
    if "dag" not in component:
        declared = component.get("outputDefinitions", {}).get("artifacts", {}).get(key, {})
        return _declared(declared, f"{task}.{key}")
    about = component["dag"].get("outputs", {}).get("artifacts", {}).get(key, {})
    for selector in about.get("artifactSelectors", []):
        # Pipelines are not so deep; one that holds itself is.
        if depth < len(components):
            inner = selector["producerSubtask"], selector["outputArtifactKey"]
            return _output(*inner, component, components, depth + 1)
    return _UNKNOWN


def _declared(artifact: Mapping[str, Any], origin: str = "") -> ArtifactType:
    title = artifact.get("artifactType", {}).get("schemaTitle", "")
    return ArtifactType(title, kinds_in(artifact.get("description", ""))[0], origin)
