"""The cells of runs, as tables of cells × concepts."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_cytosae.cohorts.barcodes import Barcodes
from napari_cytosae.concepts.run import Run, open_run
from napari_cytosae.errors import CohortError


@dataclass(frozen=True, slots=True, eq=False)
class CellTable:
    """Some cells × concepts.

    Parameters
    ----------
    count, mean, maximum
        (cells, d_sae): tokens above τ, mean and largest value over the 257 tokens.
    labels
        (cells,) labels in their run.
    """

    count: csr_array
    mean: csr_array
    maximum: csr_array
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


def cell_table(run: Run, threshold: float) -> CellTable:
    """Take a finished run's cells; tokens are counted anew where the run's τ is another.

    Raises
    ------
    CohortError
        Where the run is not finished.
    RunError
        Where it is damaged.
    """
    if run.unfinished:
        raise CohortError(
            f"{run.path} is not finished. Start the same analysis again to go on with it."
        )
    labels = run.table["label"].to_numpy(np.int64)
    table = run.adata
    count = csr_array(table.layers["count"])
    if run.manifest.threshold != threshold:
        count = _recount(run, threshold)
    return CellTable(count, csr_array(table.X), csr_array(table.layers["max"]), labels)


def runs_of(
    barcodes: Barcodes, patient: str, folder: Path | None = None
) -> Iterator[tuple[Run, NDArray[np.object_]]]:
    """Open the runs of a patient, each with the image that every one of its cells is on.

    Parameters
    ----------
    barcodes
        Of the cohort.
    patient
        The patient's id.
    folder
        The cohort's folder, which paths of runs are relative to; they are not where it is moved.

    Raises
    ------
    CohortError
        Where there is no such patient, or none of the runs is there any more.
    """
    if patient not in barcodes.patients.index:
        raise CohortError(f"There is no patient {patient} in this cohort.")
    images = barcodes.images
    own = images.index[(images["patient"] == patient) & (images["run"].astype(str) != "")]
    there: dict[Path, list[str]] = {}
    for row in own:
        path = Path(str(images["run"].iloc[row]))
        path = path if folder is None else folder / path
        if path.is_dir():
            there.setdefault(path, []).append(str(images["image"].iloc[row]))
    if not there:
        raise CohortError(
            f"The runs of {patient} are not at hand: its cells cannot be looked at. Give the "
            "cohort's folder, or extract it again with runs kept."
        )
    for path, names in there.items():
        run = open_run(path)
        # Single-cell images share a run, a cell each, in order.
        each = names if len(names) == len(run) else names[:1] * len(run)
        yield run, np.array(each, object)


def _recount(run: Run, threshold: float) -> csr_array:
    indptr, indices, data = [0], [], []
    for label in run.table["label"]:
        summary = run.cell(int(label)).summary(threshold)
        above = summary.count > 0
        indices.append(summary.concept_ids[above])
        data.append(summary.count[above])
        indptr.append(indptr[-1] + int(above.sum()))
    none = [np.zeros(0, np.int64)]
    return csr_array(
        (np.concatenate(none + data), np.concatenate(none + indices), indptr),
        shape=(len(run), run.d_sae),
    )
