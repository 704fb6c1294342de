"""Images with truth: samples of published packages, and synthetic ones."""
