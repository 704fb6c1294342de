"""Choosing post-processing parameters: a grid of them, scored on images with truth."""
