"""What a run leaves for other programs and other people: tables and pictures.

Names are imported on first use: a table needs no drawing library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_cytosae.export.folder import EXPORT_FOLDER, export_run, remove_exports
    from napari_cytosae.export.on_cell import CellConcept, strongest_on_cell
    from napari_cytosae.export.pictures import write_pictures
    from napari_cytosae.export.tables import cell_table, concept_table, write_table

_HOMES = {
    "CellConcept": "on_cell",
    "EXPORT_FOLDER": "folder",
    "cell_table": "tables",
    "concept_table": "tables",
    "export_run": "folder",
    "remove_exports": "folder",
    "strongest_on_cell": "on_cell",
    "write_pictures": "pictures",
    "write_table": "tables",
}

__all__ = [
    "EXPORT_FOLDER",
    "CellConcept",
    "cell_table",
    "concept_table",
    "export_run",
    "remove_exports",
    "strongest_on_cell",
    "write_pictures",
    "write_table",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
