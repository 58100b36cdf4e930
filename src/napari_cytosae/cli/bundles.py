"""The command ``bundles``: which models there are, what they are, and how to get them."""

import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from napari_cytosae.cli.console import note, plain_table, progress, results
from napari_cytosae.cli.progress import stop_on_ctrl_c
from napari_cytosae.errors import Cancelled

# A line in a log for every so much of a download.
_LOGGED_SHARE = 0.1
# Column in which the values of a card begin; longer names push theirs to the right.
_VALUES_AT = 24


def size_in_words(n_bytes: int) -> str:
    """Give a size in MB, as downloads are advertised."""
    return f"{n_bytes / 1e6:,.1f} MB" if n_bytes < 1e8 else f"{n_bytes / 1e6:,.0f} MB"


def list_bundles() -> None:
    """Print a table of the bundles that are known by name."""
    from napari_cytosae.models import available_bundles

    table = plain_table("name", "here", "size", "what it is", right=("size",))
    for info in available_bundles():
        here = "yes" if info.installed else "no"
        table.add_row(Text(info.name), here, size_in_words(info.size_bytes), Text(info.summary))
    results().print(table)


def show_bundle(name: str) -> None:
    """Print what is known of a bundle.

    Raises
    ------
    CytoSAEError
        Where there is no such bundle, or it is damaged.
    """
    from napari_cytosae.models import load_bundle
    from napari_cytosae.models.registry import find_bundle

    info = None if Path(name).is_dir() else find_bundle(name)
    console = results()
    if info is not None and not info.installed:
        for key, value in {
            "name": info.name,
            "what it is": info.summary,
            "here": f"no; napari-cytosae bundles fetch {info.name}",
            "size": size_in_words(info.size_bytes),
            "goes to": str(info.folder),
        }.items():
            _print_fact(console, key, value)
        _print_fact(console, "comes from", list(info.sources))
        return
    bundle = load_bundle(name)
    facts: dict[str, object] = {
        "name": bundle.name,
        "folder": str(info.folder if info is not None else Path(name)),
        "digest": bundle.digest,
        "block": f"{bundle.block} (counted from 0)",
        "width": f"{bundle.d_model} per token",
        "concepts": f"{bundle.d_sae:,}",
    }
    if info is not None:
        facts["size"] = size_in_words(info.size_bytes)
    for key, value in [*facts.items(), *bundle.card.items()]:
        _print_fact(console, key, value)


def _print_fact(console: Console, key: str, value: object, indent: int = 0) -> None:
    """Print one entry of a card; what lies deeper is indented."""
    words = key.replace("_", " ")
    if isinstance(value, Mapping):
        console.print(Text(" " * indent + words))
        for inner, deeper in value.items():
            _print_fact(console, str(inner), deeper, indent + 2)
        return
    if isinstance(value, list | tuple):
        numbers = all(isinstance(item, int | float) for item in value)
        value = (", " if numbers else "\n").join(map(str, value))
    label = f"{' ' * indent + words}  ".ljust(_VALUES_AT)
    for line in str(value).splitlines() or [""]:
        console.print(Text(label + line), soft_wrap=True)
        label = " " * _VALUES_AT


def fetch(name: str) -> None:
    """Download a bundle with a progress bar, or lines in a log.

    Raises
    ------
    CytoSAEError
        Where it cannot be fetched; the message says where a file can be put by hand.
    """
    from napari_cytosae.models import fetch_bundle
    from napari_cytosae.models.registry import find_bundle

    info = find_bundle(name)
    if info.installed and not info.sources:
        note(f"{name} is here already: {info.folder}")
        return
    live = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=progress(),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    task = live.add_task(name, total=info.size_bytes)
    logged = 0.0

    def show(done: int, total: int | None) -> None:
        nonlocal logged
        live.update(task, completed=done, total=total)
        share = done / total if total else 0.0
        if live.disable and share >= logged + _LOGGED_SHARE:
            logged = share
            note(f"{name}: {size_in_words(done)} of {size_in_words(total or 0)}")

    with stop_on_ctrl_c() as cancelled, live:
        try:
            folder = fetch_bundle(name, progress=show, cancelled=cancelled)
        except Cancelled as error:
            raise Cancelled(
                f"Stopped. What came is kept: napari-cytosae bundles fetch {name} goes on from there."
            ) from error
    note(f"{name} is in {folder}")


def add(folder: Path | None, backbone: Path | None, sae: Path | None, name: str | None) -> None:
    """Give a bundle folder, or a pair of checkpoints, a name.

    Raises
    ------
    CytoSAEError
        Where they cannot be loaded, or the name is taken.
    """
    from napari_cytosae.models import add_bundle

    info = add_bundle(folder, backbone=backbone, sae=sae, name=name)
    note(f"{info.name} is known from now on: napari-cytosae analyze … --bundle {info.name}")
