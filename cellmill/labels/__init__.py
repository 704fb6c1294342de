"""Label images: numbers, objects, holes, edges, overlaps, kinds of object, resizing."""
