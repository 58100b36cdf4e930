"""A data set in the making: an accumulator, and whose cells it has counted."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.concepts.atlas.accumulator import Accumulator, source_key
from napari_cytosae.concepts.atlas.data_set import DataSet, DataSetInfo, Sources
from napari_cytosae.concepts.atlas.evidence_counts import EvidenceAccumulator
from napari_cytosae.concepts.atlas.measures import NO_LABEL
from napari_cytosae.concepts.atlas.references import References


class Collector:
    """Counts cells of known sources and classes.

    Parameters
    ----------
    accumulator
        What counts.
    evidence
        What collects evidence from those cells that were measured; None for none.
    """

    def __init__(
        self, accumulator: Accumulator, evidence: EvidenceAccumulator | None = None
    ) -> None:
        self.accumulator = accumulator
        self.evidence = evidence
        self._rows: dict[str, int] = {}
        self._sources: list[tuple[str, str, str, int]] = []
        self._keys: list[np.uint64] = []
        self._classes: dict[str, int] = {}
        self._sizes: list[int] = []

    def __contains__(self, identity: str) -> bool:
        return identity in self._rows

    @property
    def n_cells(self) -> int:
        """Cells counted so far."""
        return self.accumulator.n_images

    @property
    def keys(self) -> NDArray[np.uint64]:
        """Key of each source."""
        return np.array(self._keys, np.uint64)

    def add_source(self, identity: str, path: str, image: str, n_cells: int) -> int:
        """Note a source whose cells are about to be counted; give its row."""
        row = self._rows[identity] = len(self._sources)
        self._sources.append((identity, path, image, n_cells))
        self._keys.append(source_key(identity))
        return row

    def classes_of(self, words: Sequence[str]) -> NDArray[np.int32]:
        """Turn the cells' classes, empty for none, into indices, and count them."""
        labels = np.full(len(words), NO_LABEL, np.int32)
        for place, word in enumerate(words):
            if word:
                label = self._class(word)
                self._sizes[label] += 1
                labels[place] = label
        return labels

    def absorb(self, data: DataSet) -> None:
        """Add what another data set has counted; it must share no source with this one."""
        sources = data.sources
        rows = np.array(
            [
                self.add_source(identity, path, image, n_cells)
                for identity, path, image, n_cells in zip(
                    sources.identities, sources.paths, sources.images, sources.n_cells, strict=True
                )
            ],
            np.int32,
        )
        labels = np.array([*(self._class(name) for name in data.info.classes), NO_LABEL], np.int32)
        for name, size in zip(data.info.classes, data.info.class_sizes, strict=True):
            self._sizes[self._class(name)] += size
        references = _renumbered(data.references, rows, labels)
        sample = None if data.sample is None else data.sample.with_sources(rows)
        self.accumulator.merge(data.counts, data.info.n_images, references, sample, self.keys)
        if self.evidence is not None and data.where is not None and data.measured is not None:
            measured = data.measured.with_sources(rows)
            self.evidence.merge(data.where, measured, data.info.measured_cells)

    def data_set(self, info: DataSetInfo) -> DataSet:
        """Give the data set as it is now, its sources and classes in an order of their own.

        Parameters
        ----------
        info
            All but what was counted.
        """
        order = sorted(range(len(self._sources)), key=lambda row: self._sources[row][0])
        rows = np.empty(len(order), np.int32)
        rows[order] = np.arange(len(order), dtype=np.int32)
        names = sorted(self._classes)
        labels = np.full(len(names) + 1, NO_LABEL, np.int32)
        for place, name in enumerate(names):
            labels[self._classes[name]] = place
        listed = [self._sources[row] for row in order]
        identities, paths, images, n_cells = zip(*listed, strict=True) if listed else ((),) * 4
        accumulator = self.accumulator
        sample = accumulator.sample
        evidence = self.evidence
        n_measured = 0 if evidence is None else evidence.n_measured
        there = evidence if n_measured else None
        return DataSet.of(
            replace(
                info,
                n_images=self.n_cells,
                classes=tuple(names),
                class_sizes=tuple(self._sizes[self._classes[name]] for name in names),
                class_sizes_from="counted" if names else "",
                evidence=evidence is not None,
                measured_cells=n_measured,
            ),
            accumulator.counts,
            _renumbered(accumulator.references, rows, labels),
            Sources(identities, paths, images, n_cells),
            sample.with_sources(rows) if sample.size else None,
            where=None if there is None else there.where,
            measured=None if there is None else there.sample.with_sources(rows),
        )

    def _class(self, name: str) -> int:
        if name not in self._classes:
            self._classes[name] = len(self._classes)
            self._sizes.append(0)
        return self._classes[name]


def _renumbered(
    references: References, rows: NDArray[np.int32], labels: NDArray[np.int32]
) -> References:
    """Let references count sources and labels in another list; what is not filled stays so."""
    filled = references.filled
    sources = references.sources.copy()
    sources[filled] = rows[references.sources[filled]]
    return References(
        references.values,
        sources,
        references.cells,
        references.patches,
        labels[references.labels],  # no label is −1, which stands last
    )
