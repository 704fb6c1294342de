"""Microscopy images in TIFF files, read channel by channel; label images, written as OME-TIFF."""
