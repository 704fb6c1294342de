"""Pipelines: which components, in which order, on which hardware."""
