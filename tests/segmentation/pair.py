"""The toy on the mean of two channels: a role that reads more than one."""

from dataclasses import replace

import numpy as np

from cellmill.segmentation.interface import Role
from tests.segmentation.toy import METHOD as TOY

NAME = "pair"


class Mean:
    """The mean over the channels of a windowed array `(Y, X, C)`, windowed itself."""

    dtype = np.dtype(np.float32)

    def __init__(self, source) -> None:
        self._source = source
        self.shape = source.shape[:2]

    def __getitem__(self, window):
        return np.asarray(self._source[(*window, slice(None))]).mean(axis=-1)


def _mean(maps):
    return replace(maps, arrays={"signal": Mean(maps["signal"])})


METHOD = replace(
    TOY,
    name=NAME,
    roles=(Role("signal", "objects brighter than what is around them, twice", channels=2),),
    segment=lambda maps, parameters, numbering: TOY.segment(_mean(maps), parameters, numbering),
    tiled=replace(TOY.tiled, open=lambda maps, *rest: TOY.tiled.open(_mean(maps), *rest)),
)
