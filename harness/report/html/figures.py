"""Figures inside the page: as SVG where that is small, as PNG where a drawing holds very many points."""

from __future__ import annotations

import re
import struct
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.document import FigureBlock
from harness.report.html.text import attributes, escape, inline

LARGEST_SVG = 300_000  # bytes of one figure
ALL_FIGURES = 3_000_000  # bytes of all of them
ENLARGED = 1.6  # drawings are made for a column of a paper; on a screen their letters would be small
TYPES = {"svg": "image/svg+xml", "png": "image/png"}


@dataclass(frozen=True)
class Image:
    """One embedded file; width and height at which it is shown, in CSS pixels, None where no file says."""

    suffix: str
    content: bytes
    size: tuple[int, int] | None


def chosen(blocks: Sequence[FigureBlock]) -> list[Image | None]:
    """One image a figure, None for one with neither SVG nor PNG.

    SVG, but PNG for the largest drawings until all are within the limits.
    """
    images = [_image(block, ("svg", "png")) for block in blocks]
    order = sorted(range(len(blocks)), key=lambda i: -len(images[i].content) if images[i] else 0)
    for i in order:
        image, other = images[i], _image(blocks[i], ("png",))
        total = sum(len(image.content) for image in images if image)
        if image is None or other is None or (total <= ALL_FIGURES and len(image.content) <= LARGEST_SVG):
            continue
        images[i] = min(image, other, key=lambda image: len(image.content))
    return images


def _image(block: FigureBlock, suffixes: Sequence[str]) -> Image | None:
    size = _svg_size(block.files.get("svg", b"")) or _png_size(block.files.get("png", b""))
    return next((Image(suffix, block.files[suffix], size) for suffix in suffixes if suffix in block.files), None)


def _png_size(content: bytes) -> tuple[int, int] | None:
    """From the header chunk, which comes first; two of its pixels are one of the page's."""
    if content[:8] != b"\x89PNG\r\n\x1a\n" or len(content) < 24:
        return None
    width, height = struct.unpack(">II", content[16:24])
    return -(-width // 2), -(-height // 2)


def _svg_size(content: bytes) -> tuple[int, int] | None:
    head = content[:2000].decode("utf-8", "replace")
    sides = [re.search(rf'<svg[^>]*\s{side}="([0-9.]+)(pt|px)?"', head) for side in ("width", "height")]
    if not all(sides):
        return None
    width, height = (float(side[1]) * (4 / 3 if side[2] == "pt" else 1) for side in sides if side)
    return round(ENLARGED * width), round(ENLARGED * height)


def block(figure: FigureBlock, image: Image | None, anchor: str, level: int) -> str:
    """The figure with title and caption. An image runs no scripts and loads nothing, whatever its file holds."""
    title = f"{anchor}:title"
    if image is None:
        body = f"<p>{escape(figure.alt)}</p>\n"
    else:
        source = f"data:{TYPES[image.suffix]};base64,{b64encode(image.content).decode('ascii')}"
        width, height = (str(side) for side in image.size) if image.size else (None, None)
        shown = attributes(alt=figure.alt, width=width, height=height, data_file=f"{figure.name}.{image.suffix}")
        body = f'<div class=paper><img src="{source}"{shown}></div>\n'
    return (
        f"<figure{attributes(class_='block drawing', id=anchor, aria_labelledby=title)}>\n"
        f"<h{level}{attributes(id=title)}>{escape(figure.title)}</h{level}>\n{body}"
        + (f"<figcaption class=caption>{inline(figure.caption)}</figcaption>\n" if figure.caption else "")
        + "</figure>\n"
    )
