"""Names of concepts: a dictionary per SAE, a vocabulary to choose from, and blinded review.

Names are imported on first use.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from napari_cytosae.concepts.naming.author import remember_author, remembered_author
    from napari_cytosae.concepts.naming.dictionary import Dictionary, Merged
    from napari_cytosae.concepts.naming.edits import Change, Edit, EditStack
    from napari_cytosae.concepts.naming.entries import Entry
    from napari_cytosae.concepts.naming.names import Names
    from napari_cytosae.concepts.naming.names_file import NamesFile, read_names
    from napari_cytosae.concepts.naming.places import (
        dictionary_of,
        names_folder,
        names_path,
        use_shared_names,
    )
    from napari_cytosae.concepts.naming.records import TISSUES, Naming, Record
    from napari_cytosae.concepts.naming.stars import Stars
    from napari_cytosae.concepts.naming.table import (
        TABLE_SUFFIXES,
        give_rows,
        read_names_table,
        write_names_table,
    )
    from napari_cytosae.concepts.naming.vocabulary import (
        Term,
        Vocabulary,
        load_vocabulary,
        vocabulary_path,
    )

_HOMES = {
    "author": ["remember_author", "remembered_author"],
    "dictionary": ["Dictionary", "Merged"],
    "edits": ["Change", "Edit", "EditStack"],
    "entries": ["Entry"],
    "names": ["Names"],
    "names_file": ["NamesFile", "read_names"],
    "places": ["dictionary_of", "names_folder", "names_path", "use_shared_names"],
    "records": ["TISSUES", "Naming", "Record"],
    "stars": ["Stars"],
    "table": ["TABLE_SUFFIXES", "give_rows", "read_names_table", "write_names_table"],
    "vocabulary": ["Term", "Vocabulary", "load_vocabulary", "vocabulary_path"],
}

__all__ = [
    "TABLE_SUFFIXES",
    "TISSUES",
    "Change",
    "Dictionary",
    "Edit",
    "EditStack",
    "Entry",
    "Merged",
    "Names",
    "NamesFile",
    "Naming",
    "Record",
    "Stars",
    "Term",
    "Vocabulary",
    "dictionary_of",
    "give_rows",
    "load_vocabulary",
    "names_folder",
    "names_path",
    "read_names",
    "read_names_table",
    "remember_author",
    "remembered_author",
    "use_shared_names",
    "vocabulary_path",
    "write_names_table",
]

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_HOMES)
