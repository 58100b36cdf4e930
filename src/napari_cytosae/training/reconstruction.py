"""The reconstruction loss of some tokens, and its gradient with respect to the reconstructions."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Reconstruction:
    """How far (n, d_model) tokens are from their reconstructions.

    Parameters
    ----------
    residual
        ``x − x̂``, from all concepts.
    per_element
        ``(x̂ − x)² / ‖x‖₂``, from all concepts.
    loss
        Sum over elements, mean over prefixes and the whole; a scalar.
    slopes
        For each segment of concepts (up to the first prefix, between two, after the last), the
        gradient of the loss with respect to what the segment adds to the reconstruction.
    """

    residual: Tensor
    per_element: Tensor
    loss: Tensor
    slopes: list[Tensor]

    def rows(self, part: slice) -> "Reconstruction":
        """Keep some tokens; the loss stays that of all."""
        slopes = [slope[part] for slope in self.slopes]
        return Reconstruction(self.residual[part], self.per_element[part], self.loss, slopes)


def compare(x: Tensor, parts: list[Tensor], b_dec: Tensor, scale: float) -> Reconstruction:
    """Compare tokens with what the segments of concepts add up to.

    Parameters
    ----------
    x
        (n, d_model) float32.
    parts
        What each segment adds, (n, d_model) float32 each.
    b_dec
        (d_model,).
    scale
        Factor of the gradients: one over all elements of the step.
    """
    norm = x.norm(dim=1, keepdim=True)
    rebuilt = b_dec.expand_as(x)
    loss = x.new_zeros(())
    slopes = []
    for part in parts:
        rebuilt = rebuilt + part
        residual = x - rebuilt
        over_norm = residual / norm
        per_element = residual * over_norm
        loss = loss + per_element.sum()
        slopes.append(over_norm.mul_(-2.0 * scale / len(parts)))
    # A segment is part of its own reconstruction and of all later ones.
    for place in range(len(parts) - 2, -1, -1):
        slopes[place] += slopes[place + 1]
    return Reconstruction(residual, per_element, loss / len(parts), slopes)
