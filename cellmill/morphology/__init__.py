"""Kernels on images: smoothing, h-maxima, reconstruction, flooding; whole and by tiles."""
