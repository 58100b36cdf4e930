"""The layers that show results: cells, the selected one, pinned concepts, strength by colour."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, WeakKeyDictionary, ref

import numpy as np
from napari.layers import Image, Labels, Points
from napari.utils.colormaps import Colormap, DirectLabelColormap
from scipy.ndimage import binary_erosion

from napari_cytosae.concepts.maps import placed_within
from napari_cytosae.concepts.stored_labels import StoredLabels
from napari_cytosae.viewer.cell_layer_values import (
    features_of,
    in_levels,
    layer_data,
    outline_px,
    rings_of,
    strength_colormap,
)
from napari_cytosae.viewer.drawing_anew import draw_anew
from napari_cytosae.viewer.palette import OUTLINE, map_colormap
from napari_cytosae.viewer.pinned_maps import PinnedMaps
from napari_cytosae.viewer.placement import placement, placement_of, settle
from napari_cytosae.viewer.session import Session, session_of, unwrapped
from napari_cytosae.viewer.strength_levels import Shades, shades_layer

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_cytosae.viewer.results import Results

_BLENDING = "translucent_no_depth"
_REFRESH_SECONDS = 2.0
# A table of more cells than these is brought up to date at the end only: it takes too long.
_MOST_FEATURES = 3000


class ResultLayers:
    """Keep a viewer's result layers in step with its session.

    Layers are found by identity: users rename and delete them. A deleted map is an unpinned
    concept; deleted cells stay away until the next run.
    """

    def __init__(self, viewer: Any, session: Session) -> None:
        self._viewer: ReferenceType[ViewerModel] = ref(unwrapped(viewer))
        self._session = session
        self._cells: ReferenceType[Labels] | None = None
        self._outline: ReferenceType[Image] | None = None
        self._rings: ReferenceType[Points] | None = None
        self._preview: ReferenceType[Image] | None = None
        self._coloured: ReferenceType[Labels | Image] | None = None
        self._shades = Shades({})
        self._maps: dict[int, ReferenceType[Image]] = {}
        self._pinned = PinnedMaps()
        self._given: dict[int, str] = {}  # names that map layers got from us
        self._coloured_by: tuple[int, str] | None = None  # concept and name of the layer
        self._shown: Results | None = None
        self.smooth = True
        self._refreshed = 0.0
        session.results_changed.connect(self._show_results)
        session.selection_changed.connect(self._show_outline)
        session.selection_changed.connect(self._show_rings)
        session.selection_changed.connect(self._show_preview)
        session.preview_changed.connect(self._show_preview)
        session.pins_changed.connect(self._show_pins)
        session.names_changed.connect(self._rename)
        unwrapped(viewer).layers.events.removed.connect(self._on_removed)

    # -- finding ---------------------------------------------------------------------------

    def _living(self, reference: ReferenceType[Any] | None) -> Any:
        """Return the layer if it is still in the viewer."""
        layer, viewer = reference and reference(), self._viewer()
        if layer is None or viewer is None or not any(layer is other for other in viewer.layers):
            return None
        return layer

    @property
    def cells(self) -> Labels | None:
        """Labels layer of the cells."""
        return self._living(self._cells)

    @property
    def coloured(self) -> Labels | Image | None:
        """Layer of the cells coloured by a concept's strength: labels, or shades for a slide."""
        return self._living(self._coloured)

    def map_layer(self, concept_id: int) -> Image | None:
        """Image layer of a pinned concept's maps."""
        return self._living(self._maps.get(concept_id))

    def is_result(self, layer: Layer) -> bool:
        """Tell whether a layer is one of ours."""
        ours = (
            self._cells, self._outline, self._rings, self._preview, self._coloured,
            *self._maps.values(),
        )  # fmt: skip
        return any(reference is not None and reference() is layer for reference in ours)

    # -- showing ---------------------------------------------------------------------------

    def _show_results(self) -> None:
        results = self._session.results
        if results is not self._shown:
            for reference in (self._cells, self._coloured):
                self._remove(reference)
            for concept_id in list(self._maps):
                self._remove(self._maps.pop(concept_id))
            self._cells = self._coloured = None
            self._shown = results
            if results is not None:
                self._add_cells(results)
            return
        # In mid-run only once in a while: both take time that grows with the number of cells.
        finished = results is not None and results.run is not None and not results.run.unfinished
        if not finished and monotonic() - self._refreshed < _REFRESH_SECONDS:
            return
        if results is not None and (layer := self.cells) is not None:
            if finished or len(results) <= _MOST_FEATURES:
                layer.features = features_of(results)
            if layer.multiscale:  # a slide's cells are painted while they are found
                layer.contour = outline_px(results)
                draw_anew(layer)
        self._show_pins(refresh=True)
        self._refreshed = monotonic()

    def _add(self, layer: Layer) -> None:
        """Add a layer, and leave the user's active layer active: clicks go on picking cells."""
        viewer = self._viewer()
        if viewer is None:
            return
        active = viewer.layers.selection.active
        viewer.add_layer(layer)
        if active is not None:
            viewer.layers.selection.active = active

    def _remove(self, reference: ReferenceType[Any] | None) -> None:
        layer, viewer = self._living(reference), self._viewer()
        if layer is not None and viewer is not None:
            viewer.layers.remove(layer)

    def _add_cells(self, results: Results) -> None:
        source = self._session.source
        if source is None:
            return
        layer = Labels(
            layer_data(results.labels),
            name=f"cells of {source.name}",
            opacity=0.9,
            blending=_BLENDING,
            colormap=DirectLabelColormap(color_dict={None: OUTLINE, 0: "transparent"}),
            features=features_of(results),
            metadata={"cytosae": {"run": str(results.run.path) if results.run else None}},
            **placement(source),
        )
        layer.contour = outline_px(results)
        self._cells = ref(layer)
        self._add(layer)

    def _show_outline(self) -> None:
        """Draw the selected cell's outline thicker than the others'."""
        layer = self._living(self._outline)
        results, label, source = self._session.results, self._session.selected, self._session.source
        if results is None or label is None or source is None:
            if layer is not None:
                layer.visible = False
            return
        y0, x0, y1, x1 = results.extent_of(label, margin_px=1)
        mask = results.labels[y0:y1, x0:x1] == label
        edge = mask & ~binary_erosion(mask, iterations=2 * outline_px(results))
        place = placement(source, offset_px=(y0, x0))
        # An Image, not Labels: those compile their colours when the first is drawn, for a second.
        if layer is None:
            layer = Image(
                edge.astype(np.uint8),
                name="selected cell",
                colormap=Colormap(["transparent", OUTLINE], name="outline"),
                contrast_limits=(0, 1),
                interpolation2d="nearest",
                blending=_BLENDING,
                **place,
            )
            self._outline = ref(layer)
            self._add(layer)
            return
        layer.data = edge.astype(np.uint8)
        settle(layer, **place, visible=True)

    def _show_rings(self) -> None:
        """Ring the cells that are selected beside the one on show."""
        session, layer = self._session, self._living(self._rings)
        results, source = session.results, session.source
        if results is None or source is None or not session.also:
            if layer is not None:
                layer.visible = False
            return
        centres, across = rings_of(results, session.also)
        if layer is None:
            layer = Points(
                centres,
                name="also selected",
                size=across,
                face_color="transparent",
                border_color=OUTLINE,
                border_width=0.05,
                blending=_BLENDING,
                **placement(source),
            )
            self._rings = ref(layer)
            self._add(layer)
            return
        layer.data = centres
        layer.size = across
        settle(layer, **placement(source), visible=True)

    def _show_preview(self) -> None:
        """Show the map of the concept that is looked at, over the selected cell only."""
        session, layer = self._session, self._living(self._preview)
        source, concept_id = session.source, session.preview
        answer = session.results.answer(session.selected) if session.results else None
        wanted = source is not None and concept_id is not None and answer is not None
        if not wanted or concept_id in session.pins:
            if layer is not None:
                layer.visible = False
            return
        values = answer.concept_map(concept_id)
        # Within the image: a layer that reaches beyond it has all layers drawn anew.
        shape = session.results.slide.shape
        seen = placed_within(values, answer.box, shape, smooth=self.smooth)
        place = placement_of(source, seen)
        look = {
            "colormap": map_colormap(session.map_hue(concept_id)),
            "contrast_limits": (0.0, session.results.full_scale(concept_id)),
            "interpolation2d": "linear" if self.smooth else "nearest",
        }
        if layer is None:
            layer = Image(seen.values, name="concept preview", blending=_BLENDING, **look, **place)
            self._preview = ref(layer)
            self._add(layer)
            return
        layer.data = seen.values
        settle(layer, **look, **place, visible=True)

    def _show_pins(self, refresh: bool = False) -> None:
        """Add a layer for each pinned concept, remove those of the unpinned."""
        session = self._session
        for concept_id in [key for key in self._maps if key not in session.pins]:
            self._remove(self._maps.pop(concept_id))
        if session.results is None or session.source is None:
            return
        for concept_id in session.pins:
            layer = self.map_layer(concept_id)
            if layer is None:
                self._add_map(concept_id)
            elif refresh:
                self._pinned.renew(layer, session.results, concept_id, smooth=self.smooth)
        self._show_preview()

    def _add_map(self, concept_id: int) -> None:
        session = self._session
        layer = self._pinned.layer(
            session.results, session.source, concept_id, smooth=self.smooth,
            name=self._title(concept_id), colormap=map_colormap(session.map_hue(concept_id)),
        )  # fmt: skip
        self._maps[concept_id] = ref(layer)
        self._add(layer)

    def _title(self, concept_id: int) -> str:
        title = self._given[concept_id] = self._session.results.title(concept_id)
        return title

    def _title_of_colours(self, concept_id: int) -> str:
        title = f"cells by {self._session.results.title(concept_id)}"
        self._coloured_by = (concept_id, title)
        return title

    def _rename(self, concepts: frozenset[int]) -> None:
        """Let layers follow the names of their concepts, unless the user has renamed them."""
        results = self._session.results
        if results is None:
            return
        for concept_id in concepts & self._maps.keys():
            layer, before = self.map_layer(concept_id), self._given.get(concept_id)
            title = self._title(concept_id)
            if layer is not None and layer.name == before:
                layer.name = title
        layer = self.coloured
        if layer is not None and self._coloured_by and self._coloured_by[0] in concepts:
            concept_id, before = self._coloured_by
            title = self._title_of_colours(concept_id)
            if layer.name == before:
                layer.name = title
        if (layer := self.cells) is not None:
            layer.features = features_of(results)

    def set_smooth(self, smooth: bool) -> None:
        """Draw maps smoothly, or as the squares that the patches are."""
        self.smooth = smooth
        interpolation = "linear" if smooth else "nearest"
        preview = self._living(self._preview)
        for layer in [preview, *(self.map_layer(concept_id) for concept_id in self._maps)]:
            if layer is not None:
                layer.interpolation2d = interpolation
        self._show_pins(refresh=True)

    def toggle_map(self, slot: int) -> None:
        """Show or hide the map of the concept that wears a hue (0 to 5)."""
        for concept_id, worn in self._session.pins.items():
            layer = self.map_layer(concept_id)
            if worn == slot and layer is not None:
                layer.visible = not layer.visible

    def hide_all(self, hidden: bool) -> None:
        """Leave the bare cells while ``hidden`` holds, then show again what was shown."""
        ours = [self._living(r) for r in (self._cells, self._outline, self._rings, self._preview)]
        ours += [self.coloured, *(self.map_layer(concept_id) for concept_id in self._maps)]
        for layer in ours:
            if layer is None:
                continue
            if hidden and layer.visible:
                layer.metadata["cytosae hidden"] = True
                layer.visible = False
            elif not hidden and layer.metadata.pop("cytosae hidden", False):
                layer.visible = True

    def colour_by(self, concept_id: int) -> None:
        """Fill every cell with a colour for how strong a concept is in it."""
        results, source = self._session.results, self._session.source
        if results is None or source is None:
            return
        strengths = results.strengths(concept_id)
        name = self._title_of_colours(concept_id)
        layer = self.coloured
        if in_levels(results.labels):
            self._colour_slide(results.labels, strengths, name)
            return
        colormap = strength_colormap(strengths)
        if layer is not None:
            layer.colormap, layer.name, layer.visible = colormap, name, True
            return
        layer = Labels(
            layer_data(results.labels),
            name=name,
            opacity=0.6,
            blending=_BLENDING,
            colormap=colormap,
            **placement(source),
        )
        self._coloured = ref(layer)
        self._add(layer)

    def _colour_slide(self, labels: StoredLabels, strengths: dict[int, float], name: str) -> None:
        """Colour the cells of a slide, of which there may be too many for a table of colours."""
        layer = self.coloured
        if layer is not None:
            self._shades.set(strengths)
            layer.name, layer.visible = name, True
            layer.refresh()
            return
        self._shades = Shades(strengths)
        layer = shades_layer(
            labels, self._shades, name=name, opacity=0.6, blending=_BLENDING,
            **placement(self._session.source),
        )  # fmt: skip
        self._coloured = ref(layer)
        self._add(layer)

    def _on_removed(self, event: Any) -> None:
        """Unpin what the user deleted; forget the results of a deleted image."""
        for concept_id, reference in list(self._maps.items()):
            if reference() is event.value:
                del self._maps[concept_id]
                if concept_id in self._session.pins:
                    self._session.toggle_pin(concept_id)
        if self._session.source is not None and event.value is self._session.source:
            self._session.show(None, None)


_of_viewer: WeakKeyDictionary[ViewerModel, ResultLayers] = WeakKeyDictionary()


def result_layers_of(viewer: Any) -> ResultLayers:
    """Return the result layers of a viewer; a dock that is closed and opened again finds them."""
    viewer = unwrapped(viewer)
    layers = _of_viewer.get(viewer)
    if layers is None:
        layers = _of_viewer[viewer] = ResultLayers(viewer, session_of(viewer))
    return layers
