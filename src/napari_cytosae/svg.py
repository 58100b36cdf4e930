"""Figures as SVG elements that stand in a page."""

import io
import re
import zlib

from matplotlib import rc_context
from matplotlib.figure import Figure


def as_svg(figure: Figure) -> str:
    """Give a figure as an SVG element to stand in a page; its text stays text."""
    out = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "cytosae"}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    element = text[text.index("<svg") :]
    # Ids are only unique within one figure; links between pages are of no use here.
    mark = f"f{zlib.crc32(element.encode())}-"
    element = re.sub(r'\bid="', f'id="{mark}', element)
    element = re.sub(r'(xlink:href="|url\()#', rf"\1#{mark}", element)
    return element.strip()
