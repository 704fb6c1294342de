"""cellmill in napari: panels that call the library, a reader of runs, sample data.

Nothing is computed here that cellmill does not compute; `napari.yaml` says what is offered.
"""
