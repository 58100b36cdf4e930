"""The figures of one comparison, as files of their own."""

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from napari_cytosae.cohorts import Barcodes, Comparison
from napari_cytosae.concepts.durable import explain_write_error
from napari_cytosae.export.cohort import comparison_figures as of_groups
from napari_cytosae.export.cohort.files import write_svg
from napari_cytosae.export.cohort.style import new_figure

HEATMAP_CONCEPTS = 25
"""The most different concepts that a heatmap shows."""


def write_comparison_figures(
    barcodes: Barcodes, comparison: Comparison, out: str | Path
) -> tuple[Path, ...]:
    """Write what a comparison looks like, of the patients that were compared.

    Parameters
    ----------
    barcodes
        That were compared.
    comparison
        The comparison.
    out
        The folder; files of the same names there are replaced.

    Returns
    -------
    tuple of Path
        ``scatter.svg``, ``volcano.svg``; ``heatmap.svg`` and ``correlation.svg``, ordered by
        diagnosis; and the same two ``…_clustered.svg``, ordered by likeness alone. Those of
        patients only where there are three patients and two concepts.

    Raises
    ------
    RunError
        Where the folder cannot be written to.
    """
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_write_error(error, folder) from error
    chosen = barcodes.select(comparison.in_first | comparison.in_second)
    ids = [int(number) for number in comparison.top(HEATMAP_CONCEPTS)["concept_id"]]
    written = []

    def write(name: str, size: tuple[float, float], draw: Callable[[Figure], None]) -> None:
        figure = new_figure(*size)
        draw(figure)
        write_svg(folder / f"{name}.svg", figure)
        written.append(folder / f"{name}.svg")

    write("scatter", (7.4, 4), lambda f: of_groups.draw_scatter(f.subplots(), comparison))
    write("volcano", (7.4, 4), lambda f: of_groups.draw_volcano(f.subplots(), comparison))
    if len(chosen) > 2 and len(chosen.concept_ids) > 1:
        for suffix, clustered in (("", False), ("_clustered", True)):
            write(
                f"heatmap{suffix}",
                (9, 6),
                lambda f, by=clustered: of_groups.draw_heatmap(  # type: ignore[misc]
                    f, chosen, ids, clustered=by
                ),
            )
            write(
                f"correlation{suffix}",
                (5.8, 5),
                lambda f, by=clustered: of_groups.draw_correlation(  # type: ignore[misc]
                    f, chosen, clustered=by
                ),
            )
    return tuple(written)
