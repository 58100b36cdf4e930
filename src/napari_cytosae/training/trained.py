"""What a training gives."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from napari_cytosae.models import Bundle, SparseAutoencoder, load_bundle, save_sae
from napari_cytosae.training.config import SaeTrainingConfig

Record = dict[str, float | int]


@dataclass(frozen=True, eq=False)
class TrainedSae:
    """A trained sparse autoencoder.

    Parameters
    ----------
    sae
        The autoencoder, on the processor; its decoder's rows have length one.
    config
        How it was trained.
    history
        One record for each logged step: ``step`` (from 1), ``loss`` and its parts ``mse``, ``l1``
        and ``ghost``, ``l0``, ``dead`` (share of silent concepts), ``lr``.
    """

    sae: SparseAutoencoder
    config: SaeTrainingConfig
    history: tuple[Record, ...] = field(default=(), repr=False)

    def save(self, folder: str | Path) -> Path:
        """Write ``sae.json`` and ``sae.safetensors``, which `load_sae` reads."""
        return save_sae(self.sae, folder)

    def to_bundle(self, bundle: str | Path | Bundle, name: str) -> Bundle:
        """Join the autoencoder with the backbone that its tokens came from.

        Parameters
        ----------
        bundle
            A bundle with this backbone, its name, or its folder.
        name
            What the new bundle is called.
        """
        source = bundle if isinstance(bundle, Bundle) else load_bundle(bundle, block=self.sae.block)
        card = {"training": self.config.to_json()}
        return replace(source, name=name, sae=self.sae, card=card, digest="", origin=None)
