"""How a pipeline says where its outputs go in a run's folder."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OutputFile:
    """One kind of file that a run leaves.

    Attributes:
        output: the pipeline's output: a batch, a list of batches, or a single file or folder.
        suffix: which file of each of the batch's entries; empty for a single file
            or folder.
        name: the file's name in the run's folder, or in each image's folder.
    """

    output: str
    suffix: str
    name: str

    @property
    def per_image(self) -> bool:
        """Whether there is one for each image."""
        return bool(self.suffix)
