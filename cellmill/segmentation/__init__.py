"""Methods that turn heads, or an image, into labelled objects; a folder each."""
