"""Where a concept is in reference cells whose activations were not kept: encoded anew when asked."""

from collections import OrderedDict
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Final

from napari_cytosae.concepts.atlas.data_set import DataSet, DataSetInfo
from napari_cytosae.concepts.atlas.published import STAND_IN_DIGEST
from napari_cytosae.concepts.atlas.reference_pictures import ReferencePicture
from napari_cytosae.errors import CheckpointError
from napari_cytosae.models.registry import available_bundles

if TYPE_CHECKING:
    from napari_cytosae.concepts.cell import CellActivations
    from napari_cytosae.models import Bundle

_PUBLISHED: Final = "cytosae"
_KEPT: Final = 400  # cells; some 50 KB each


class ReferenceMaps:
    """Encode reference cells of image folders and of published sets with the model of their atlas.

    The model is loaded with the first cell; a few hundred cells are remembered, since the strongest
    cells of one concept are those of others, too. Several threads may ask, one after another is
    answered.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._bundles: dict[str, Bundle] = {}
        self._cells: OrderedDict[tuple[str, str, int], CellActivations] = OrderedDict()

    @staticmethod
    def bundle_for(data_set: DataSet) -> str | None:
        """Name the bundle that encodes a data set's cells; None where it is not on this computer.

        Nothing is loaded.
        """
        info = data_set.info
        name = _PUBLISHED if info.kind == "published" else info.bundle_name
        installed = {each.name for each in available_bundles() if each.installed}
        return name if name in installed else None

    def add_to(self, data_set: DataSet, picture: ReferencePicture) -> ReferencePicture:
        """Give a picture with its concept's activations by patch, where they can be computed.

        Parameters
        ----------
        data_set
            The one that the picture is of.
        picture
            A reference; one that has its map already, or no crop, comes back as it is.

        Raises
        ------
        CheckpointError
            The bundle of that name is another than the atlas was made with.
        """
        crop = picture.crop
        if picture.concept_map is not None or crop is None:
            return picture
        name = self.bundle_for(data_set)
        if name is None:
            return picture
        from napari_cytosae.concepts.encode import encode_one

        with self._lock:
            key = (data_set.name, picture.image, picture.cell)
            cell = self._cells.pop(key, None)
            if cell is None:
                bundle = self._bundle(name, data_set.info)
                side = float(crop.shape[0])
                cell = encode_one(crop, (0.0, 0.0, side, side), bundle, label=picture.cell)
            self._cells[key] = cell
            if len(self._cells) > _KEPT:
                self._cells.popitem(last=False)
        return replace(picture, concept_map=cell.concept_map(picture.concept_id))

    def _bundle(self, name: str, info: DataSetInfo) -> "Bundle":
        if name not in self._bundles:
            from napari_cytosae.models import load_bundle

            self._bundles[name] = load_bundle(name)
        bundle = self._bundles[name]
        other = info.bundle_digest not in (None, bundle.digest) or info.sae_digest not in (
            None, STAND_IN_DIGEST, bundle.sae_digest,
        )  # fmt: skip
        if other or bundle.d_sae != info.d_sae:
            raise CheckpointError(
                f"The bundle {name} on this computer is another than {info.name} was counted with, "
                "so its masks cannot be computed."
            )
        return bundle
