"""Which of a pipeline's parameters a component takes."""

from collections.abc import Mapping, Sequence
from typing import Any

#: Parameters of `tiff_to_npz`, where a pipeline has them under the same name.
CONVERSION = (
    *("channels", "measure_channels", "mpp", "z", "z_step", "t", "series", "truth_kind"),
    "on_bad_image",
)


def chosen(given: Mapping[str, Any], names: Sequence[str], **renamed: str) -> dict[str, Any]:
    """Those of a pipeline's parameters that a component takes.

    Args:
        given: the pipeline's parameters by name, all of them.
        names: what the component takes, where the pipeline has it under the same name.
        **renamed: by the component's name the pipeline's, where they differ.
    """
    return {name: given[name] for name in names if name in given} | {
        name: given[theirs] for name, theirs in renamed.items() if theirs in given
    }
