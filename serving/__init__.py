"""An endpoint's server: a network folder of cellmill's behind KServe V2 and Vertex AI's protocol.

`python -m serving --model FOLDER` runs it; `docs/serving.md` says what it answers. Nothing imports
this package.
"""
