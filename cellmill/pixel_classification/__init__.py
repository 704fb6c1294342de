"""Pixel classification: features of pixels, and a forest that learns classes from scribbles."""
