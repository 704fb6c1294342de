"""Launching: compile pipelines, run them here or in a cloud, collect what they make."""
