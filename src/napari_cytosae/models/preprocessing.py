"""What happens to a crop before the backbone sees it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from napari_cytosae.errors import CheckpointError, ImageError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resize and normalisation of crops, as DinoBloom was trained with.

    Parameters
    ----------
    image_size
        Side of the backbone's input in pixels.
    interpolation, antialias
        How crops are resized; only bilinear with antialiasing is known.
    mean, std
        Per-channel mean and deviation of RGB in [0, 1] (ImageNet's).
    """

    image_size: int = 224
    interpolation: str = "bilinear"
    antialias: bool = True
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __call__(self, crops: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """Turn RGB crops into the backbone's input.

        Parameters
        ----------
        crops
            RGB images, each (height, width, 3) uint8, of any size. They are stretched to the
            input's square, as in DinoBloom.

        Returns
        -------
        (B, 3, image_size, image_size) float32, normalised, on the processor.
        """
        side = self.image_size
        pixels = torch.empty((len(crops), 3, side, side), dtype=torch.float32)
        for row, crop in enumerate(crops):
            pixels[row] = self._resize(crop)
        mean = torch.tensor(self.mean).mul_(255.0).view(3, 1, 1)
        std = torch.tensor(self.std).mul_(255.0).view(3, 1, 1)
        return pixels.sub_(mean).div_(std)

    def _resize(self, crop: NDArray[np.uint8]) -> torch.Tensor:
        if crop.ndim != 3 or crop.shape[2] != 3 or crop.dtype != np.uint8 or 0 in crop.shape:
            raise ImageError(
                "A crop must be an RGB image of shape (height, width, 3) and type uint8, "
                f"not {crop.shape} {crop.dtype}."
            )
        # Slides hand out read-only views, which PyTorch warns about: those are copied.
        image = torch.from_numpy(np.require(crop, requirements=["C", "W"])).permute(2, 0, 1)
        if image.shape[1:] == (self.image_size, self.image_size):
            return image
        # PyTorch's 8-bit kernel rounds as Pillow's does, which is what DinoBloom's training
        # resized with: 95 % of all values and more are the same, the rest differ by 1 or 2 of 255.
        resized: torch.Tensor = F.interpolate(
            image[None],
            size=(self.image_size, self.image_size),
            mode="bilinear",
            antialias=True,
            align_corners=False,
        )[0]
        return resized

    def to_json(self) -> dict[str, Any]:
        """Give the fields as they stand in ``bundle.json``."""
        fields = asdict(self)
        return {**fields, "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, fields: Any, where: str) -> "Preprocessing":
        """Read the fields of a ``bundle.json``.

        Raises
        ------
        CheckpointError
            A field is missing, unknown, or asks for something that this version cannot do.
        """
        try:
            found = cls(
                image_size=int(fields["image_size"]),
                interpolation=str(fields["interpolation"]),
                antialias=bool(fields["antialias"]),
                mean=_three(fields["mean"]),
                std=_three(fields["std"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{where}: its preprocessing cannot be read ({error}).") from None
        if (found.image_size, found.interpolation, found.antialias) != (224, "bilinear", True):
            raise CheckpointError(
                f"{where} asks for {found.interpolation} resizing to {found.image_size} px "
                f"(antialias {found.antialias}); this version resizes to 224 px, bilinear and "
                "antialiased, as DinoBloom does."
            )
        if not all(deviation > 0 for deviation in found.std):
            raise CheckpointError(f"{where}: the deviations in its preprocessing must be positive.")
        return found


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
