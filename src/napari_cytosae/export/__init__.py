"""What a run leaves for other programs and other people: tables and pictures.

Names are imported on first use: a table needs no drawing library.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from napari_cytosae.export.atlas_page import write_concept_page
    from napari_cytosae.export.atlas_tables import write_atlas_tables
    from napari_cytosae.export.focus_picture import draw_focus
    from napari_cytosae.export.folder import EXPORT_FOLDER, export_run, remove_exports
    from napari_cytosae.export.on_cell import CellConcept, strongest_on_cell
    from napari_cytosae.export.pictures import write_pictures
    from napari_cytosae.export.tables import cell_table, concept_table, write_table

_HOMES = {
    "atlas_page": ["write_concept_page"],
    "atlas_tables": ["write_atlas_tables"],
    "focus_picture": ["draw_focus"],
    "folder": ["EXPORT_FOLDER", "export_run", "remove_exports"],
    "on_cell": ["CellConcept", "strongest_on_cell"],
    "pictures": ["write_pictures"],
    "tables": ["cell_table", "concept_table", "write_table"],
}

__all__ = [
    "EXPORT_FOLDER",
    "CellConcept",
    "cell_table",
    "concept_table",
    "draw_focus",
    "export_run",
    "remove_exports",
    "strongest_on_cell",
    "write_atlas_tables",
    "write_concept_page",
    "write_pictures",
    "write_table",
]

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_HOMES)
