"""Container images and their environments."""
