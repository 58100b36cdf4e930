"""One row per concept: names, statistics and suggestions, searched and focused."""

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from napari_cytosae.concepts.atlas.collection import DataSetCollection
from napari_cytosae.concepts.atlas.data_set import DataSet, check_concept
from napari_cytosae.concepts.atlas.focus import UPSTREAM_NOISY, Focus, find_focus
from napari_cytosae.concepts.atlas.parquet import frame_of_table
from napari_cytosae.concepts.atlas.search import SearchIndex
from napari_cytosae.concepts.atlas.suggest import Suggestions, generalisation, suggest
from napari_cytosae.concepts.atlas.summary import summarise
from napari_cytosae.concepts.naming.dictionary import Dictionary
from napari_cytosae.concepts.naming.names import Names
from napari_cytosae.concepts.naming.places import dictionary_of
from napari_cytosae.errors import NamesError

logger = logging.getLogger(__name__)

_MAYBE_MISSING = ("patch_frequency", "entropy", "purity", "compartment_")


class ConceptTable(DataSetCollection):
    """What is known of every concept, over all data sets.

    Parameters
    ----------
    data_sets
        One or more, with different names, of one SAE.
    names
        People's names by concept id; those of the SAE's dictionary without it, as they are at the
        time of asking.

    Raises
    ------
    AtlasError
        Where there is no data set, two have one name, or they are of different SAEs.
    """

    def __init__(
        self, data_sets: Iterable[DataSet], names: Mapping[int, str] | None = None
    ) -> None:
        super().__init__(data_sets)
        self._given_names = None if names is None else _as_names(names)
        self._named: tuple[Names, pd.DataFrame] | None = None
        self._index: tuple[Names, SearchIndex] | None = None
        self._names_at: tuple[int, Names] | None = None
        self._read_summary: Callable[[], pa.Table | None] = lambda: None

    @property
    def dictionary(self) -> Dictionary:
        """The dictionary in which people name these concepts.

        Raises
        ------
        NamesError
            Where the SAE is not known, or the file cannot be read.
        """
        if self.sae_digest is None:
            raise NamesError(
                "It is not known which sparse autoencoder this atlas is of, so its concepts cannot "
                "be named. Read the feature data again with the SAE's digest."
            )
        return dictionary_of(self.sae_digest)

    @property
    def names(self) -> Names:
        """Name of every concept that has one: as given, else as the dictionary has them now."""
        if self._given_names is not None:
            return self._given_names
        dictionary = self._readable_dictionary
        revision = -1 if dictionary is None else dictionary.revision
        if self._names_at is None or self._names_at[0] != revision:
            self._names_at = (revision, Names.of(dictionary))
        return self._names_at[1]

    @names.setter
    def names(self, names: Mapping[int, str] | None) -> None:
        self._given_names = None if names is None else _as_names(names)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """`table` without people's names; see `summarise` for the columns."""
        stored = self._read_summary()
        if stored is not None and stored.num_rows == self.d_sae:
            return frame_of_table(stored, _MAYBE_MISSING)
        return summarise(self.data_sets, self.suggestions, self._focus_of)

    @property
    def table(self) -> pd.DataFrame:
        """One row per concept, over all data sets; see `summarise` for the columns.

        After ``concept_id`` come ``name`` and ``name_suggested`` (whether no person stands behind
        the name).
        """
        names = self.names
        if self._named is None or self._named[0] is not names:
            table = self.summary.copy(deep=False)
            for place, (column, values) in enumerate(names.columns(self.d_sae).items(), start=1):
                table.insert(place, column, values)
            self._named = (names, table)
        return self._named[1]

    @property
    def var(self) -> pd.DataFrame:
        """`table` as AnnData wants it for ``var``: indexed by the concept id as text."""
        table = self.table
        floats = {
            str(name): table[name].to_numpy(np.float64, na_value=np.nan)
            for name in table
            if isinstance(table[name].dtype, pd.Float64Dtype)
        }
        return table.assign(**floats).set_axis(table["concept_id"].astype(str).to_numpy())

    def words(self, concept_id: int) -> tuple[str, bool]:
        """Say what a concept is called, and whether that is a suggestion only.

        A person's name comes first, then the dictionary's suggestion, that of the labels, and that
        of the measured cells; empty where nothing is known.
        """
        row = self.table.iloc[check_concept(concept_id, self.d_sae)]
        if row["name"]:
            return str(row["name"]), bool(row["name_suggested"])
        words = str(row["suggestion"]) or str(row.get("seen_name", ""))
        return words, bool(words)

    def search(self, text: str) -> pd.DataFrame:
        """Give the rows of `table` that have every word of a text, the most telling first.

        Names, suggestions and their evidence are searched; ``#123`` or a number finds concepts
        whose number begins so.
        """
        found = self.table.iloc[self.find(text)]
        return found.sort_values("rank", kind="stable")

    def find(self, text: str) -> NDArray[np.int64]:
        """Give the ids of what `search` finds, ascending; quick enough for every keystroke."""
        names = self.names
        if self._index is None or self._index[0] is not names:
            # The evidence begins with the suggestion.
            searched = ("name", "evidence", "seen")
            words = (self.table[name].to_numpy(object) for name in searched if name in self.table)
            self._index = (names, SearchIndex(words))
        return self._index[1].find(text)

    def focus(
        self,
        threshold: float | None = None,
        *,
        data_set: str | None = None,
        noisy_above: float | None = None,
    ) -> Focus:
        """Choose the concepts worth showing and computing, by mean activation.

        Parameters
        ----------
        threshold
            Mean activation; the valley between the two modes without it.
        data_set
            Look at one data set; at all together without it.
        noisy_above
            Mean activation above which a concept is too common to tell much. Without it upstream's
            0.1 for the published SAE, and what corresponds to it elsewhere.
        """
        if noisy_above is None and all(data.info.kind == "published" for data in self.data_sets):
            noisy_above = UPSTREAM_NOISY
        if data_set is None:
            means = self.summary["mean_activation"].to_numpy(np.float64)
            shares = self.summary["mass_share"].to_numpy(np.float64)
        else:
            means, shares = self[data_set].mean_activation, self[data_set].mass_share
        return find_focus(means, shares, threshold, noisy_above)

    @cached_property
    def suggestions(self) -> Suggestions:
        """What the data sets' labels say about each concept, with the tests behind it."""
        return suggest(self.data_sets)

    def suggested_names(self, least_agreement: int = 1) -> dict[int, str]:
        """Give the suggestions for concepts in focus, by id, as a dictionary takes them in.

        Parameters
        ----------
        least_agreement
            Data sets that must agree on one.
        """
        summary = self.summary
        chosen = summary["in_focus"] & (summary["agreement"] >= max(1, least_agreement))
        words = summary.loc[chosen, ["concept_id", "suggestion"]]
        return dict(zip(words["concept_id"].tolist(), words["suggestion"].tolist(), strict=True))

    @cached_property
    def generalisation(self) -> pd.DataFrame:
        """Which concepts show the same cell in blood and in bone marrow; see `generalisation`."""
        return generalisation(self.data_sets, self.suggestions)

    def _focus_of(self, means: NDArray[np.float64], shares: NDArray[np.float64]) -> Focus:
        published = all(data.info.kind == "published" for data in self.data_sets)
        return find_focus(means, shares, noisy_above=UPSTREAM_NOISY if published else None)

    @cached_property
    def _readable_dictionary(self) -> Dictionary | None:
        """The dictionary, or None where there is none to read: concepts are shown all the same."""
        if self.sae_digest is None:
            return None
        try:
            return self.dictionary
        except NamesError as error:
            logger.warning("Concepts are shown by their numbers. %s", error)
            return None


def _as_names(names: Mapping[int, str]) -> Names:
    return names if isinstance(names, Names) else Names(names)
