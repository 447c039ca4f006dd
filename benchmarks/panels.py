"""Panels side by side with a caption above each: the figures of docs/, small enough for a page."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
LARGEST = 60_000
"""Bytes of a figure at most."""
_GAP, _LINE, _TEXT = 8, 17, 13

Panel = tuple[str, Image.Image]
"""A caption, of one or more lines, and a picture."""


def sheet(rows: Sequence[Sequence[Panel]], background: str = "white", ink: str = "black") -> Image.Image:
    """Rows of panels; each column is as wide as its widest picture, each row as high as its highest."""
    widths = [max(row[i][1].width for row in rows if i < len(row)) for i in range(max(map(len, rows)))]
    tops = [_LINE * max(1 + caption.count("\n") for caption, _ in row) + 4 for row in rows]
    heights = [top + max(picture.height for _, picture in row) for top, row in zip(tops, rows)]
    size = (sum(widths) + _GAP * (len(widths) + 1), sum(heights) + _GAP * (len(rows) + 1))
    figure = Image.new("RGB", size, background)
    draw = ImageDraw.Draw(figure)
    y = _GAP
    for row, top, height in zip(rows, tops, heights):
        x = _GAP
        for (caption, picture), width in zip(row, widths):
            draw.multiline_text((x, y), caption, ink, ImageFont.load_default(_TEXT), spacing=3)
            figure.paste(picture, (x, y + top))
            x += width + _GAP
        y += height + _GAP
    return figure


def save(figure: Image.Image, name: str) -> None:
    """Write docs/images/NAME.webp, in the best quality that keeps to the limit; says where."""
    for quality in range(92, 40, -4):
        figure.save(data := BytesIO(), "WEBP", quality=quality, method=6)
        if len(data.getvalue()) < LARGEST:
            (IMAGES / f"{name}.webp").write_bytes(data.getvalue())
            print(f"docs/images/{name}.webp  {figure.width}x{figure.height}, {len(data.getvalue()) // 1000} kB")
            return
    raise SystemExit(f"{name}: more than {LARGEST} bytes at any quality; make it smaller")
