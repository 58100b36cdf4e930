"""Where the command line writes: results to stdout, progress and complaints to stderr."""

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from napari_cytosae.errors import Cancelled

CANCELLED = 130
"""Exit status after Ctrl-C, as shells have it."""

# Wide enough that no path is cut where a file or another program reads the output.
_UNBOUNDED = 1000


def results() -> Console:
    """Give the console for results; plain and unwrapped where stdout is no terminal."""
    width = None if sys.stdout.isatty() else _UNBOUNDED
    return Console(width=width, highlight=False, emoji=False)


def progress() -> Console:
    """Give the console for progress and notes."""
    width = None if sys.stderr.isatty() else _UNBOUNDED
    return Console(stderr=True, width=width, highlight=False, emoji=False)


def note(words: str) -> None:
    """Say something on stderr."""
    progress().print(Text(words), soft_wrap=True)


def complain(error: Exception | str) -> None:
    """Say in red on stderr what went wrong and what to do; one line."""
    words = str(error).replace("overwrite=True", "--overwrite")
    style = "yellow" if isinstance(error, Cancelled) else "red"
    progress().print(Text(words, style=style), soft_wrap=True)


def plain_table(*headings: str, right: tuple[str, ...] = ()) -> Table:
    """Start a table without rules, so that it reads well in a log too.

    Parameters
    ----------
    headings
        Of the columns.
    right
        The headings of columns that hold numbers.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(
            heading,
            justify="right" if heading in right else "left",
            overflow="fold",
            no_wrap=heading != headings[-1],  # on a narrow terminal the last one gives way
        )
    return table
