"""What comes from outside: URIs, digests, the cache, items, TIFF, OME-Zarr, ground truth."""
