"""The graph of a placement as a picture of its own: `python docs/figures/draw.py PLACEMENT.json PICTURE.svg`.

The drawing is the one of the page that `Placement.to_html` writes, with its style inside, for light and dark.
"""

import sys
from pathlib import Path

from collage_jax import Placement
from collage_jax.report.markup import Markup
from collage_jax.report.page.drawing import drawing
from collage_jax.report.page.style import style
from collage_jax.report.palette import palette


def picture(placement: Placement) -> str:
    """The drawing as SVG that stands alone."""
    colours = palette(placement)
    drawn = drawing(placement, colours)
    if drawn is None:
        raise ValueError("nothing is known of the placement's graph; tune again and save it anew")
    opening, inside = str(drawn).split(">", 1)
    return f"{opening}>{Markup(f'<style>{style(colours)}</style>')}{inside}\n"


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text(picture(Placement.load(source)), encoding="utf8")
