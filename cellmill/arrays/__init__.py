"""Array artifacts on disk: aligned `.npz` files, and batches of them with a manifest."""
