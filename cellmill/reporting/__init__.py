"""What a run shows people: overlays, one page an image, a summary of many."""

from cellmill.reporting.image_summary import ImageSummary
from cellmill.reporting.overlay import outline, overlay, overlay_png
from cellmill.reporting.page import render_report
from cellmill.reporting.subject import Subject
from cellmill.reporting.summary import Summary, render_summary

__all__ = [
    "ImageSummary",
    "Subject",
    "Summary",
    "outline",
    "overlay",
    "overlay_png",
    "render_report",
    "render_summary",
]
