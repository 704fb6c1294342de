"""An image in, cells out, in one call: the path of the pipeline's stages for a Python user.

`segment` does it once; a `Segmenter` loads a model once for many images; both give a
`Segmentation`. Each step is the function that a stage calls, so the labels are the pipeline's.
"""

from cellmill.segmenter.result import Segmentation, SegmentationFacts
from cellmill.segmenter.segmenter import Segmenter, segment

__all__ = ["Segmentation", "SegmentationFacts", "Segmenter", "segment"]
