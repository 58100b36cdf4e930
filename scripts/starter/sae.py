"""Train the sparse autoencoder on the student's tokens."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class SaeRecipe:
    """How the autoencoder is trained.

    Attributes
    ----------
    d_sae
        Number of concepts.
    l1
        Weight λ of the mean L1 norm of a token's activations.
    lr
        Peak learning rate of Adam: 200 warm-up steps, constant, linear decay in the last fifth.
    steps, batch_tokens
        Length of the training, and tokens per step, drawn at random from all crops.
    prefixes
        Also reconstruct from only the first so many concepts, one loss each (Bussmann et al.
        2025, "Learning Multi-Level Features with Matryoshka Sparse Autoencoders"), so that broad
        concepts such as "nucleus" are not split up among narrow ones. Empty: the plain loss.
    resample_at
        Shares of the training after which silent concepts start anew from tokens that are
        reconstructed badly.
    """

    d_sae: int = 3072
    l1: float = 3e-4
    lr: float = 1e-3
    steps: int = 3000
    batch_tokens: int = 2048
    prefixes: tuple[int, ...] = ()
    resample_at: tuple[float, ...] = (0.2, 0.4, 0.6)


class Sae(nn.Module):
    """``f = ReLU((x − b_dec) W_enc + b_enc)``, ``x̂ = f W_dec + b_dec``, unit decoder rows.

    Decoder rows start as the directions of random tokens from the mean token, the encoder as the
    decoder's transpose, and the encoder's bias where 2 % of the tokens lie above it: hardly any
    concept is then born silent, and a token has about as many of them as it will have in the end.
    """

    def __init__(self, d_sae: int, tokens: Tensor) -> None:
        super().__init__()
        self.b_dec = nn.Parameter(tokens.mean(0))
        rows = nn.functional.normalize(tokens[:d_sae] - tokens.mean(0), dim=1)
        self.W_dec = nn.Parameter(rows.clone())
        self.W_enc = nn.Parameter(rows.T.clone())
        reached = (tokens[-4096:] - tokens.mean(0)) @ rows.T
        self.b_enc = nn.Parameter(-reached.quantile(0.98, dim=0))

    def encode(self, x: Tensor) -> Tensor:
        """Return activations (n, d_sae) of tokens (n, d_model)."""
        return torch.relu((x - self.b_dec) @ self.W_enc + self.b_enc)

    def decode(self, f: Tensor) -> Tensor:
        """Return tokens (n, d_model) from activations (n, d_sae)."""
        return f @ self.W_dec + self.b_dec

    @torch.no_grad()
    def hold_unit_rows(self) -> None:
        """Bring decoder rows back to length one, and their gradient into the tangent plane."""
        self.W_dec.div_(self.W_dec.norm(dim=1, keepdim=True))
        if self.W_dec.grad is not None:
            along = (self.W_dec.grad * self.W_dec).sum(1, keepdim=True)
            self.W_dec.grad.sub_(along * self.W_dec)


def paper_loss(x: Tensor, x_hat: Tensor) -> Tensor:
    """Mean over elements of ``(x̂ − x)² / ‖x‖₂`` (the reconstruction term of CytoSAE)."""
    return ((x_hat - x).square() / x.norm(dim=1, keepdim=True)).mean()


def train_sae(tokens: NDArray[np.float16], recipe: SaeRecipe, seed: int) -> Sae:
    """Train an autoencoder on tokens (n, d_model)."""
    generator = torch.Generator().manual_seed(seed)
    store = torch.from_numpy(tokens)

    def draw(count: int) -> Tensor:
        return store[torch.randint(len(store), (count,), generator=generator)].float()

    sae = Sae(recipe.d_sae, draw(65_536))
    adam = torch.optim.Adam(sae.parameters(), lr=recipe.lr, betas=(0.9, 0.999))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        adam, lambda t: min(1.0, (t + 1) / 200, 5 * (1 - t / recipe.steps))
    )
    resample_steps = {round(share * recipe.steps) for share in recipe.resample_at}
    fired = torch.zeros(recipe.d_sae, dtype=torch.int64)
    for step in range(recipe.steps):
        x = draw(recipe.batch_tokens)
        with torch.autocast("cpu", torch.bfloat16):
            f = sae.encode(x)
            whole = sae.decode(f)
        loss = paper_loss(x, whole.float())
        for prefix in recipe.prefixes:
            with torch.autocast("cpu", torch.bfloat16):
                part = f[:, :prefix] @ sae.W_dec[:prefix] + sae.b_dec
            loss = loss + paper_loss(x, part.float())
        loss = loss / (1 + len(recipe.prefixes))
        sparsity = recipe.l1 * f.float().sum(1).mean()
        adam.zero_grad(set_to_none=True)
        (loss + sparsity).backward()
        sae.hold_unit_rows()
        adam.step()
        schedule.step()
        sae.hold_unit_rows()
        with torch.no_grad():
            fired += (f > 0).sum(0)
            if step in resample_steps:
                _resample(sae, adam, fired == 0, draw(32_768), generator)
            if step % 200 == 199:
                l0 = float((f > 0).sum(1).float().mean())
                ev = 1 - float((x - whole).square().sum() / (x - x.mean(0)).square().sum())
                print(
                    f"sae step {step + 1}/{recipe.steps} loss {loss.item():.5f} "
                    f"L0 {l0:.1f} explained {ev:.3f} silent {int((fired == 0).sum())}",
                    flush=True,
                )
                fired.zero_()
    return sae.eval()


@torch.no_grad()
def _resample(
    sae: Sae, adam: torch.optim.Adam, silent: Tensor, x: Tensor, generator: torch.Generator
) -> None:
    """Point silent concepts at tokens drawn by squared error (Bricken et al. 2023)."""
    rows = silent.nonzero().squeeze(1)
    if len(rows) == 0:
        return
    residual = x - sae.decode(sae.encode(x))
    picks = torch.multinomial(residual.square().sum(1), len(rows), generator=generator)
    directions = nn.functional.normalize(residual[picks], dim=1)
    strength = sae.W_enc[:, ~silent].norm(dim=0).mean()
    sae.W_dec[rows] = directions
    sae.W_enc[:, rows] = 0.2 * strength * directions.T
    sae.b_enc[rows] = 0
    for parameter, index in ((sae.W_dec, (rows,)), (sae.b_enc, (rows,)), (sae.W_enc, (..., rows))):
        for moment in ("exp_avg", "exp_avg_sq"):
            adam.state[parameter][moment][index] = 0
