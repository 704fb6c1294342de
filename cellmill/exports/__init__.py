"""What was found, in the forms of other programs."""

from cellmill.exports.geojson import write_geojson
from cellmill.exports.outlines import Polygon, outline, polygons_of

__all__ = ["Polygon", "outline", "polygons_of", "write_geojson"]
