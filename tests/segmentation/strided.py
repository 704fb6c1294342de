"""A method whose roles heads with a stride may play; what predicts for it can be tried with it."""

from dataclasses import replace

from cellmill.segmentation.deep_watershed.method import METHOD as WATERSHED

NAME = "strided"
METHOD = replace(
    WATERSHED, name=NAME, roles=tuple(replace(role, strided=True) for role in WATERSHED.roles)
)
