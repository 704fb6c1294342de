"""Files in microscopes' own formats, read through packages that are kept for them."""
