"""Data sets of one SAE side by side."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from napari_cytosae.concepts.atlas.data_set import DataSet
from napari_cytosae.concepts.atlas.published import STAND_IN_DIGEST
from napari_cytosae.concepts.atlas.published_order import resolve_images
from napari_cytosae.errors import AtlasError


class DataSetCollection:
    """One or more data sets of one SAE, by name.

    Parameters
    ----------
    data_sets
        With different names, in the order in which they are shown.

    Raises
    ------
    AtlasError
        Where there is no data set, two have one name, or they are of different SAEs.
    """

    def __init__(self, data_sets: Iterable[DataSet]) -> None:
        found = list(data_sets)
        _check_together(found)
        self._data_sets = {data.name: data for data in found}

    @property
    def data_sets(self) -> list[DataSet]:
        """The data sets, in the order in which they came."""
        return list(self._data_sets.values())

    def __getitem__(self, name: str) -> DataSet:
        try:
            return self._data_sets[name]
        except KeyError:
            raise AtlasError(
                f"There is no data set {name!r} in this atlas; it has {', '.join(self._data_sets)}."
            ) from None

    def __iter__(self) -> Iterator[DataSet]:
        return iter(self.data_sets)

    def __len__(self) -> int:
        return len(self._data_sets)

    def __repr__(self) -> str:
        sets = ", ".join(f"{data.name} ({len(data):,})" for data in self.data_sets)
        return f"<{type(self).__name__} of {self.d_sae:,} concepts: {sets}>"

    @property
    def d_sae(self) -> int:
        """Number of concepts of the SAE."""
        return self.data_sets[0].info.d_sae

    @property
    def sae_digest(self) -> str | None:
        """Digest of the SAE, by which names are found; None where it is not known."""
        digests = {data.info.sae_digest for data in self.data_sets if data.info.sae_digest}
        real = digests - {STAND_IN_DIGEST}
        return next(iter(real or digests), None)

    @property
    def bundle_name(self) -> str:
        """Name of the bundle, as far as it is known."""
        return next((n for data in self.data_sets if (n := data.info.bundle_name)), "")

    @property
    def finished(self) -> bool:
        """Whether no build was stopped on its way."""
        return all(data.info.finished for data in self.data_sets)

    def link_images(self, data_set: str, folder: str | Path) -> None:
        """Say where the original images of a published set lie, so that references show them.

        Raises
        ------
        AtlasError
            Where the folder is another data set, or the set is no published one.
        """
        data = self[data_set]
        if data.info.kind != "published":
            raise AtlasError(f"The images of {data_set} are known from its runs.")
        resolve_images(folder, data.references, data.info.classes, data.info.n_images)
        linked = replace(data.info, image_folder=str(Path(folder).resolve()))
        self._data_sets[data_set] = data.with_info(linked)


def _check_together(data_sets: Sequence[DataSet]) -> None:
    if not data_sets:
        raise AtlasError("An atlas needs at least one data set.")
    names = [data.name for data in data_sets]
    for name in names:
        if names.count(name) > 1:
            raise AtlasError(f"Two data sets are called {name!r}. Give one of them another name.")
    first = data_sets[0].info
    unknown = (None, STAND_IN_DIGEST)
    digests = [data.info.sae_digest for data in data_sets if data.info.sae_digest not in unknown]
    for data in data_sets:
        other = data.info.sae_digest not in unknown and data.info.sae_digest != digests[0]
        if data.info.d_sae != first.d_sae or other:
            raise AtlasError(
                f"{data.name} ({data.info.d_sae:,} concepts) and {first.name} "
                f"({first.d_sae:,} concepts) are of different sparse autoencoders: concept 7 of "
                "one is not concept 7 of the other. Keep them in two atlases."
            )
