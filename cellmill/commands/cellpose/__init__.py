"""`cellmill cellpose`: a folder of images segmented by the command that users of Cellpose type."""
