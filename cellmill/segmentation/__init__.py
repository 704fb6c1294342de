"""From a network's maps to labelled objects: markers, watershed, clean-up, numbering."""

from cellmill.segmentation.compartment import maps_of, segment, watershed_parameters
from cellmill.segmentation.deep_watershed import (
    MaximaAlgorithm,
    Numbering,
    WatershedParameters,
    clean_up,
    deep_watershed,
    find_markers,
    segment_maps,
    shaped_interior,
)
from cellmill.segmentation.flooding import TieRule, flood_tiles, watershed
from cellmill.segmentation.hmaxima import h_maxima
from cellmill.segmentation.holes import fill_holes
from cellmill.segmentation.labels import (
    areas_by_id,
    canonical_labels,
    dense_labels,
    erode_labels,
    object_areas,
    objects_at_border,
    remove_small_objects,
    small_objects,
)
from cellmill.segmentation.maxima import ball_footprint, label_markers, local_peaks
from cellmill.segmentation.reach import Reach, reach_of
from cellmill.segmentation.reconstruction import h_maxima_tiles, reconstruct, reconstruct_tiles
from cellmill.segmentation.smoothing import smooth
from cellmill.segmentation.tiled import segment_tiled

__all__ = [
    "MaximaAlgorithm",
    "Numbering",
    "Reach",
    "TieRule",
    "WatershedParameters",
    "areas_by_id",
    "ball_footprint",
    "canonical_labels",
    "clean_up",
    "deep_watershed",
    "dense_labels",
    "erode_labels",
    "fill_holes",
    "find_markers",
    "flood_tiles",
    "h_maxima",
    "h_maxima_tiles",
    "label_markers",
    "local_peaks",
    "maps_of",
    "object_areas",
    "objects_at_border",
    "reach_of",
    "reconstruct",
    "reconstruct_tiles",
    "remove_small_objects",
    "segment",
    "segment_maps",
    "segment_tiled",
    "shaped_interior",
    "small_objects",
    "smooth",
    "watershed",
    "watershed_parameters",
]
