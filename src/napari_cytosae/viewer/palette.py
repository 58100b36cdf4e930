"""How napari draws a concept's hue."""

from napari.utils.colormaps import Colormap

from napari_cytosae.export.palette import rgb

# Outlines are no concept: dark enough for a bright field, and none of the six hues.
OUTLINE = "#202020"


def map_colormap(hue: str) -> Colormap:
    """Colormap of a concept map: zero is transparent, so that stained cells stay readable.

    Additive blending would vanish into the white of a bright field; here the hue covers it.
    """
    stops = [[*rgb(hue), alpha] for alpha in (0.0, 0.55, 0.9)]
    return Colormap(stops, name=f"concept {hue}", controls=[0.0, 0.35, 1.0])
