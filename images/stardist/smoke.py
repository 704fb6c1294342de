"""The StarDist image's own check at its build: networks can be made, compiled parts compute."""

import numpy as np
from stardist.geometry import star_dist
from stardist.models import StarDist2D, StarDist3D

assert issubclass(StarDist3D, StarDist2D.__base__)
square = np.pad(np.ones((9, 9), np.int32), 4)
distances = star_dist(square, n_rays=4)[8, 8]
assert (abs(distances - 4.5) < 1).all(), f"rays to the edges of a square of 9: {distances}"
