"""An atlas on disk: Parquet tables, and one JSON file that says which of them are the atlas.

Each save writes a new set of tables and only then replaces ``atlas.json``, which names them: a
reader, or a process that was killed, sees the old atlas or the new one, and never half of either.
"""

import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from napari_cytosae import __version__
from napari_cytosae.concepts.atlas.data_set import DataSet, DataSetInfo, Part, Sources
from napari_cytosae.concepts.atlas.parquet import (
    PARTS,
    read_part,
    read_table,
    write_part,
    write_table,
)
from napari_cytosae.concepts.durable import (
    LOCK_NAME,
    explain_write_error,
    write_json_durably,
)
from napari_cytosae.errors import AtlasError

FORMAT = "napari-cytosae atlas"
VERSION = 1
MANIFEST = "atlas.json"
TABLES = "tables-"
CONCEPTS = "concepts.parquet"


def is_atlas(folder: Path) -> bool:
    """Tell whether a folder holds an atlas."""
    return (folder / MANIFEST).is_file()


def prepare_folder(folder: Path) -> None:
    """Make the folder, or make sure that it may be written into.

    Raises
    ------
    AtlasError
        Where it is a file, or holds somebody's other files.
    RunError
        Where it cannot be made.
    """
    if folder.is_file():
        raise AtlasError(f"{folder} is a file. Choose a folder for the atlas.")
    if folder.is_dir() and not is_atlas(folder):
        foreign = sorted(
            entry.name
            for entry in folder.iterdir()
            if entry.name != LOCK_NAME and not entry.name.startswith((TABLES, MANIFEST))
        )
        if foreign:
            raise AtlasError(
                f"{folder} is no atlas and holds other files ({foreign[0]}). Choose another folder."
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_write_error(error, folder) from error


def write_atlas(
    folder: Path, data_sets: Sequence[DataSet], concepts: pa.Table | None, created: str
) -> None:
    """Write an atlas into a folder whose lock is held.

    Parameters
    ----------
    folder
        As `prepare_folder` left it.
    data_sets
        Its data sets.
    concepts
        One row per concept over all data sets; None while a build is on its way.
    created
        When the atlas was begun, ISO 8601.
    """
    tables = folder / f"{TABLES}{uuid.uuid4().hex[:12]}"
    try:
        tables.mkdir()
    except OSError as error:
        raise explain_write_error(error, tables) from error
    try:
        entries = []
        for place, data in enumerate(data_sets):
            moved = _moved(data, folder)
            for part in PARTS:
                write_part(moved, part, tables / f"{place:02d}-{part}.parquet")
            entries.append({"tables": f"{place:02d}", **data.info.as_dict()})
        if concepts is not None:
            write_table(concepts, tables / CONCEPTS)
        write_json_durably(
            folder / MANIFEST,
            {
                "format": FORMAT,
                "format_version": VERSION,
                "tables": tables.name,
                "d_sae": data_sets[0].info.d_sae if data_sets else 0,
                "created": created,
                "saved": datetime.now(UTC).isoformat(timespec="seconds"),
                "software_version": __version__,
                "data_sets": entries,
            },
        )
    except BaseException:
        shutil.rmtree(tables, ignore_errors=True)
        raise
    for old in folder.glob(f"{TABLES}*"):
        if old != tables:
            shutil.rmtree(old, ignore_errors=True)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read ``atlas.json``.

    Raises
    ------
    AtlasError
        Where the folder is no atlas, a damaged one, or one of a later version of the format.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise AtlasError(
            f"{folder} is no atlas: it holds no {MANIFEST}. Choose a folder that was written by "
            "napari-cytosae atlas build or atlas import."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise AtlasError(f"{path} cannot be read ({error}). Build the atlas again.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise AtlasError(f"{path} does not describe an atlas.")
    if content.get("format_version") != VERSION:
        raise AtlasError(
            f"{path} has format version {content.get('format_version')}, and this napari-cytosae "
            f"reads version {VERSION}. Open it with the version that wrote it, or build it again."
        )
    tables = content.get("tables")
    if not isinstance(tables, str) or not tables.startswith(TABLES) or Path(tables).name != tables:
        raise AtlasError(f"{path} is damaged. Build the atlas again.")
    return content


def read_data_sets(folder: Path, manifest: Mapping[str, Any]) -> list[DataSet]:
    """Give the data sets of an atlas; their tables are read when they are asked for.

    Raises
    ------
    AtlasError
        Where the manifest is damaged.
    """
    tables = folder / str(manifest["tables"])
    try:
        infos = [
            (str(entry["tables"]), DataSetInfo.from_dict(entry)) for entry in manifest["data_sets"]
        ]
    except (KeyError, TypeError) as error:
        raise AtlasError(
            f"{folder / MANIFEST} is damaged ({error}). Build the atlas again."
        ) from error
    return [DataSet(info, partial(_load, folder, tables, prefix, info)) for prefix, info in infos]


def read_concepts(folder: Path, manifest: Mapping[str, Any]) -> pa.Table | None:
    """Read the table of all concepts; None where a build was stopped before there was one."""
    path = folder / str(manifest["tables"]) / CONCEPTS
    return read_table(path) if path.exists() else None


def _load(folder: Path, tables: Path, prefix: str, info: DataSetInfo, part: Part) -> Any:
    found = read_part(info, part, tables / f"{Path(prefix).name}-{part}.parquet")
    if isinstance(found, Sources):
        paths = tuple(_absolute(path, folder) for path in found.paths)
        images = tuple(_absolute(path, folder) for path in found.images)
        return Sources(found.identities, paths, images, found.n_cells)
    return found


def _moved(data: DataSet, folder: Path) -> DataSet:
    """Write paths relative to the atlas, so that an atlas and its runs can move together."""
    sources = Sources(
        data.sources.identities,
        tuple(_relative(path, folder) for path in data.sources.paths),
        tuple(_relative(path, folder) for path in data.sources.images),
        data.sources.n_cells,
    )
    return DataSet(data.info, lambda part: sources if part == "sources" else getattr(data, part))


def _relative(path: str, folder: Path) -> str:
    if not Path(path).is_absolute():
        return path  # a name, or what was no path to begin with
    try:
        return "./" + Path(os.path.relpath(path, folder.resolve())).as_posix()
    except ValueError:  # another drive
        return path


def _absolute(path: str, folder: Path) -> str:
    if not path.startswith("./"):
        return path
    return str(Path(os.path.normpath(folder.resolve() / path)))
