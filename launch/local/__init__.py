"""Runs on this machine, in containers or without."""
