"""Running a network over an image of any size, tile by tile."""
