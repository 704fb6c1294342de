"""Voronoi-Otsu: objects from the image itself, a seed a bright spot, an outline by threshold."""
