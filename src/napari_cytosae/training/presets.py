"""Ready-made recipes, by how long one wants to wait."""

from typing import Final

from napari_cytosae.training.config import SaeTrainingConfig

PRESETS: Final[dict[str, SaeTrainingConfig]] = {
    "quick": SaeTrainingConfig(
        expansion=8, batch_images=16, steps=400, warmup_steps=50, lr=3e-3, l1=1e-3, b_dec_images=32
    ),
    "laptop": SaeTrainingConfig(
        expansion=16, batch_images=32, steps=6000, warmup_steps=300, lr=1e-3, l1=3e-4
    ),
    "paper": SaeTrainingConfig(),
}
"""``"quick"``: a first look, in minutes. ``"laptop"``: overnight on a processor. ``"paper"``: the
CytoSAE recipe, which wants a GPU.

The shorter ones learn faster and ask for more sparsity: with the paper's λ of 8e-5, hundreds of
concepts are still active per token after 400 steps.
"""
