"""A drawing of lines, shapes and words that is written as SVG and as PNG.

Pages show the charts of `charts.py`, which take their colours from the page. A drawing stands by
itself, in a paper or on a slide: its colours are its own, on white, and it is one picture in both
forms.
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

from cellmill.terminal import printable

Anchor = Literal["start", "middle", "end"]
Point = tuple[float, float]

#: The font that Pillow brings has no such characters.
_PLAIN = {"×": "x", "–": "-", "−": "-", "µ": "u", "²": "2", "≥": ">=", "≤": "<=", "→": "->"}
#: A PNG is drawn this much larger than a unit, then reduced so, which smooths its edges.
_SCALE, _SMOOTHING = 2, 3
#: Markers: corners, by how many degrees they are turned, and how large.
_MARKERS = ((24, 0, 1.0), (4, 45, 1.1), (3, -90, 1.3), (4, 0, 1.3), (3, 90, 1.3), (6, 0, 1.1))
_FONT = "'Liberation Sans', Arial, Helvetica, sans-serif"


@dataclass(frozen=True)
class Line:
    """A line through points, in units of the drawing; `dashes` are lengths, drawn and left out."""

    points: Sequence[Point]
    colour: str
    width: float = 1.5
    dashes: tuple[float, ...] = ()


@dataclass(frozen=True)
class Shape:
    """A filled polygon; `title` is shown when it is pointed at in the SVG."""

    points: Sequence[Point]
    fill: str
    outline: str = ""
    title: str = ""


@dataclass(frozen=True)
class Words:
    """A line of text, its baseline at `y`."""

    x: float
    y: float
    text: str
    colour: str = "#1d2126"
    size: float = 12
    anchor: Anchor = "start"
    bold: bool = False


@dataclass
class Drawing:
    """A drawing, filled from the back to the front.

    Attributes:
        width: in units, which are pixels of the SVG.
        height: likewise.
        about: what it shows, for who cannot see it.
    """

    width: float
    height: float
    about: str
    parts: list[Line | Shape | Words] = field(default_factory=list)

    def svg(self) -> str:
        """Write it as SVG."""
        about = _text(self.about)
        inner = "".join(map(_svg_of, self.parts))
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {self.height:g}"'
            f' width="{self.width:g}" height="{self.height:g}" role="img" aria-label="{about}"'
            f' font-family="{_FONT}"><title>{about}</title>'
            f'<rect width="{self.width:g}" height="{self.height:g}" fill="#ffffff"/>{inner}</svg>'
        )

    def png(self) -> bytes:
        """Write it as PNG, two pixels a unit."""
        scale = _SCALE * _SMOOTHING
        size = (round(self.width * scale), round(self.height * scale))
        canvas = Image.new("RGB", size, "#ffffff")
        pen = ImageDraw.Draw(canvas)
        for part in self.parts:
            _paint(pen, part, scale)
        small = (size[0] // _SMOOTHING, size[1] // _SMOOTHING)
        reduced = canvas.resize(small, Image.Resampling.BOX)
        file = io.BytesIO()
        reduced.save(file, "PNG", optimize=True, dpi=(192, 192))
        return file.getvalue()


def marker(kind: int, x: float, y: float, size: float = 4.2) -> list[Point]:
    """Return a polygon that marks a point.

    Args:
        kind: which of six shapes, which tell apart what some eyes see in one colour.
        x: its centre.
        y: likewise.
        size: its radius.
    """
    sides, turn, stretch = _MARKERS[kind % len(_MARKERS)]
    angles = [math.radians(turn + 360 * i / sides) for i in range(sides)]
    return [(x + size * stretch * math.cos(a), y + size * stretch * math.sin(a)) for a in angles]


def rectangle(left: float, top: float, width: float, height: float) -> list[Point]:
    """Return the corners of a rectangle."""
    right, bottom = left + width, top + height
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _svg_of(part: Line | Shape | Words) -> str:
    if isinstance(part, Words):
        weight = ' font-weight="600"' if part.bold else ""
        return (
            f'<text x="{part.x:.1f}" y="{part.y:.1f}" font-size="{part.size:g}"{weight}'
            f' fill="{part.colour}" text-anchor="{part.anchor}">{_text(part.text)}</text>'
        )
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in part.points)
    if isinstance(part, Line):
        dashes = f' stroke-dasharray="{" ".join(map(str, part.dashes))}"' if part.dashes else ""
        return (
            f'<polyline points="{points}" fill="none" stroke="{part.colour}"'
            f' stroke-width="{part.width:g}" stroke-linejoin="round"{dashes}/>'
        )
    outline = f' stroke="{part.outline}"' if part.outline else ""
    title = f"<title>{_text(part.title)}</title>" if part.title else ""
    return f'<polygon points="{points}" fill="{part.fill}"{outline}>{title}</polygon>'


def _paint(pen: ImageDraw.ImageDraw, part: Line | Shape | Words, scale: float) -> None:
    if isinstance(part, Words):
        font = ImageFont.load_default(part.size * scale)
        anchor = {"start": "ls", "middle": "ms", "end": "rs"}[part.anchor]
        place = (part.x * scale, part.y * scale)
        bold = 0.02 * part.size * scale if part.bold else 0
        pen.text(place, plain(part.text), part.colour, font, anchor=anchor, stroke_width=bold)
        return
    points = [(x * scale, y * scale) for x, y in part.points]
    if isinstance(part, Shape):
        pen.polygon(points, part.fill, part.outline or None)
        return
    width = max(1, round(part.width * scale))
    for stretch in _dashed(points, [d * scale for d in part.dashes]) if part.dashes else [points]:
        pen.line(stretch, part.colour, width, joint="curve")


def _dashed(points: Sequence[Point], lengths: Sequence[float]) -> list[list[Point]]:
    """Cut a line into the stretches that are drawn."""
    found: list[list[Point]] = [[points[0]]]
    index, left = 0, lengths[0]
    for (x, y), (to_x, to_y) in itertools.pairwise(points):
        whole = math.hypot(to_x - x, to_y - y)
        gone = 0.0
        while whole - gone > left:
            gone += left
            place = (x + (to_x - x) * gone / whole, y + (to_y - y) * gone / whole)
            if index % 2 == 0:
                found[-1].append(place)
            else:
                found.append([place])
            index += 1
            left = lengths[index % len(lengths)]
        left -= whole - gone
        if index % 2 == 0:
            found[-1].append((to_x, to_y))
    return [stretch for stretch in found if len(stretch) > 1]


def plain(text: str) -> str:
    """Return a text in characters that Pillow's own font has.

    Example:
        >>> plain("2 × 10 µm, 5 Å")
        '2 x 10 um, 5 ?'
    """
    said = "".join(_PLAIN.get(letter, letter) for letter in printable(text))
    return "".join(letter if letter.isascii() or letter in "±·…“”" else "?" for letter in said)


def _text(text: str) -> str:
    return escape(printable(text))
