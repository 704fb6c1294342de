"""How an artifact's kind stands in a compiled component: at the head of its description.

`[cellmill.Labels] Batch with …`; `cellmill.contract.types` says why there.
"""

from __future__ import annotations

import re

from cellmill.contract.spec import ArtifactSpec

_MARK = re.compile(r"\s*\[(\w+\.\w+(?: \| \w+\.\w+)*)\]\s*")
_OR = " | "


def marked_description(artifact: ArtifactSpec) -> str:
    """Return an artifact's description with its kinds, where it has any, at its head."""
    if not artifact.kinds:
        return artifact.description
    return f"[{_OR.join(artifact.kinds)}] {artifact.description}"


def kinds_in(description: str) -> tuple[tuple[str, ...], str]:
    """Return the kinds at the head of a description, and the rest of it.

    Example:
        >>> kinds_in("[cellmill.GroundTruth | cellmill.Labels] What is true.")
        (('cellmill.GroundTruth', 'cellmill.Labels'), 'What is true.')
        >>> kinds_in("What is true.")
        ((), 'What is true.')
    """
    found = _MARK.match(description)
    if not found:
        return (), description
    return tuple(found[1].split(_OR)), description[found.end() :]
