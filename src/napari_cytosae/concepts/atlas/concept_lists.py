"""What is known of one concept: its best cells, its partners, where it is and what goes with it."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from napari_cytosae.concepts.atlas.concept_table import ConceptTable
from napari_cytosae.concepts.atlas.data_set import check_concept
from napari_cytosae.concepts.atlas.evidence import Evidence


class ConceptLists(ConceptTable):
    """Lists of one concept, data set by data set."""

    def top(self, concept_id: int, k: int | None = None) -> pd.DataFrame:
        """List the cells that show a concept best, data set by data set, the strongest first.

        Returns
        -------
        DataFrame
            ``data_set``, then the columns of `DataSet.top`: ``value``, ``image``, ``label``,
            ``cell``, ``patch_row``, ``patch_column``, ``run``.

        Raises
        ------
        AtlasError
            Where there is no such concept.
        """
        check_concept(concept_id, self.d_sae)
        lists = []
        for data in self.data_sets:
            top = data.top(concept_id, k)
            top.insert(0, "data_set", data.name)
            lists.append(top)
        return pd.concat(lists, ignore_index=True)

    def partners(self, concept_id: int, data_set: str | None = None) -> pd.DataFrame:
        """List the concepts that are strong in the same cells.

        Parameters
        ----------
        concept_id
            The concept.
        data_set
            Of one data set; of all that kept a sample of cells without it.

        Returns
        -------
        DataFrame
            ``data_set``, ``concept_id``, ``suggestion``, ``cosine`` (between the two concepts'
            strengths over the sampled cells), ``share`` (of the sampled cells with the concept,
            those that have the partner too), ``sampled_cells``.
        """
        check_concept(concept_id, self.d_sae)
        columns = ["data_set", "concept_id", "suggestion", "cosine", "share", "sampled_cells"]
        words = self.table["suggestion"]
        rows: list[tuple[Any, ...]] = []
        for data in [self[data_set]] if data_set is not None else self.data_sets:
            found = data.partners
            if found is None:
                continue
            for other, cosine, share in zip(
                found.concept_ids[concept_id],
                found.cosines[concept_id],
                found.shares[concept_id],
                strict=True,
            ):
                if other >= 0:
                    rows.append(
                        (data.name, int(other), words[other], float(cosine), float(share),
                         found.n_sampled)
                    )  # fmt: skip
        return pd.DataFrame(rows, columns=columns)

    def where(self, concept_id: int) -> pd.DataFrame:
        """Say where a concept is active, of each data set whose cells were measured.

        Returns
        -------
        DataFrame
            ``data_set``, then the columns of `Evidence.where_table`: ``compartment``, ``share``,
            ``area``, ``enrichment``, ``cells``.
        """
        return self._of_evidence(concept_id, lambda found: found.where_table(concept_id))

    def correlates(self, concept_id: int) -> pd.DataFrame:
        """List the measures of cells that go with a concept, data set by data set.

        Returns
        -------
        DataFrame
            ``data_set``, then the columns of `Evidence.measure_table`: ``measure``, ``words``,
            ``rho``, ``p``, ``q``, ``cells``, ``active``, the strongest first.
        """
        return self._of_evidence(concept_id, lambda found: found.measure_table(concept_id))

    def hubs(self, data_set: str, least: int = 100) -> pd.DataFrame:
        """List the images that stand among the references of very many concepts.

        Returns
        -------
        DataFrame
            ``image``, ``cell`` (or published index), ``concepts`` (in how many lists it stands),
            ``share`` (of all concepts that have references), the most crowded first.
        """
        data = self[data_set]
        sources, cells, places = data.references.hubs()
        n = int((places >= least).sum())
        images = [data.sources.images[source] if source >= 0 else "" for source in sources[:n]]
        with_any = max(1, int(data.references.filled.any(axis=1).sum()))
        return pd.DataFrame(
            {
                "image": images,
                "cell": cells[:n],
                "concepts": places[:n],
                "share": places[:n] / with_any,
            }
        )

    def _of_evidence(
        self, concept_id: int, table_of: Callable[[Evidence], pd.DataFrame]
    ) -> pd.DataFrame:
        check_concept(concept_id, self.d_sae)
        tables = []
        for data in self.data_sets:
            if data.evidence is not None:
                table = table_of(data.evidence)
                table.insert(0, "data_set", data.name)
                tables.append(table)
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
