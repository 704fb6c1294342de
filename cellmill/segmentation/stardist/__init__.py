"""StarDist's post-processing: from probabilities and distances along rays to labelled objects.

Schmidt et al., Cell Detection with Star-Convex Polygons, MICCAI 2018.
"""
