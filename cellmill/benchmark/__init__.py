"""How long segmentation takes and how much memory: sweeps, statistics, guidelines, a page."""
