"""A run: its inputs, its outputs, its outcome."""
