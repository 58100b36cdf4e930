"""What an autoencoder's figures are to be held against: raw tokens, PCA, a random dictionary."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_cytosae.errors import Cancelled, TrainingError
from napari_cytosae.models import SparseAutoencoder

Tokens = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Anything that turns tokens into activations that are never negative, and back.

    Parameters
    ----------
    name
        What reports call it.
    size
        Number of concepts, or of what stands for them.
    encode
        (n, d_model) float32 → (n, size) activations.
    decode
        (n, size) activations → (n, d_model) float32.
    """

    name: str
    size: int
    encode: Callable[[Tokens], csr_array]
    decode: Callable[[csr_array], Tokens]


def sae_dictionary(sae: SparseAutoencoder, name: str = "SAE") -> Dictionary:
    """Give a sparse autoencoder as a dictionary."""
    rows = sae.W_dec.detach().cpu().numpy()
    bias = sae.b_dec.detach().cpu().numpy()

    def encode(x: Tokens) -> csr_array:
        found = sae.encode_sparse(torch.from_numpy(np.ascontiguousarray(x)).to(sae.device))
        return csr_array((found.values, found.indices, found.indptr), shape=found.shape)

    return Dictionary(name, sae.d_sae, encode, lambda f: np.asarray(f @ rows + bias, np.float32))


def raw_dictionary(tokens: Tokens) -> Dictionary:
    """Take the tokens' own dimensions as concepts: each one's excess over its mean, and its lack.

    The baseline of Pach et al. 2025, whose neurons are the original model's. It rebuilds tokens
    exactly, with d_model of 2 · d_model active.

    Parameters
    ----------
    tokens
        (n, d_model) float32, for the mean.
    """
    mean = tokens.mean(0, dtype=np.float64).astype(np.float32)
    d = len(mean)

    def encode(x: Tokens) -> csr_array:
        centred = x - mean
        return csr_array(np.concatenate([np.maximum(centred, 0), np.maximum(-centred, 0)], axis=1))

    def decode(f: csr_array) -> Tokens:
        parts = f.toarray()
        return np.asarray(parts[:, :d] - parts[:, d:] + mean, np.float32)

    return Dictionary("raw tokens", 2 * d, encode, decode)


def pca_dictionary(tokens: Tokens, components: int) -> Dictionary:
    """Take principal components as concepts, each one's positive and negative part.

    With as many components as an autoencoder has active concepts per token, this is the best
    linear reconstruction from as many numbers (Bricken et al. 2023 hold dictionaries against it).

    Parameters
    ----------
    tokens
        (n, d_model) float32.
    components
        1 to d_model.
    """
    d = tokens.shape[1]
    if not 1 <= components <= d:
        raise TrainingError(f"{components} principal components are not possible; give 1 to {d}.")
    mean = tokens.mean(0, dtype=np.float64)
    covariance = np.cov(tokens.astype(np.float64), rowvar=False).reshape(d, d)
    axes = np.linalg.eigh(covariance)[1][:, ::-1][:, :components].astype(np.float32)
    centre = mean.astype(np.float32)

    def encode(x: Tokens) -> csr_array:
        along = (x - centre) @ axes
        return csr_array(np.concatenate([np.maximum(along, 0), np.maximum(-along, 0)], axis=1))

    def decode(f: csr_array) -> Tokens:
        parts = f.toarray()
        along = parts[:, :components] - parts[:, components:]
        return np.asarray(along @ axes.T + centre, np.float32)

    return Dictionary(f"PCA, {components} components", 2 * components, encode, decode)


def random_frozen_decoder(
    tokens: Tokens,
    d_sae: int,
    *,
    l1: float,
    lr: float = 1e-3,
    steps: int = 500,
    batch_tokens: int = 2048,
    seed: int = 0,
) -> Dictionary:
    """Give `train_frozen_decoder`'s autoencoder as a dictionary."""
    sae = train_frozen_decoder(
        tokens, d_sae, l1=l1, lr=lr, steps=steps, batch_tokens=batch_tokens, seed=seed
    )
    return sae_dictionary(sae, "random frozen decoder")


def train_frozen_decoder(
    tokens: Tokens,
    d_sae: int,
    *,
    l1: float,
    lr: float = 1e-3,
    steps: int = 500,
    batch_tokens: int = 2048,
    seed: int = 0,
    cancelled: Callable[[], bool] = lambda: False,
) -> SparseAutoencoder:
    """Train an encoder for a dictionary that is drawn at random and never trained.

    The frozen-decoder baseline of Korznikov et al. 2026, "Sanity Checks for Sparse Autoencoders":
    what an autoencoder scores without having learned any direction. The loss is the recipe's, with
    plain Adam.

    Parameters
    ----------
    tokens
        (n, d_model) float32.
    d_sae, l1
        As the autoencoder's that it is held against.
    lr, steps, batch_tokens, seed
        Of its training.
    cancelled
        Asked before each step.

    Raises
    ------
    Cancelled
        When `cancelled` says so.
    """
    generator = torch.Generator().manual_seed(seed)
    store = torch.from_numpy(tokens)
    d = tokens.shape[1]
    sae = SparseAutoencoder(d, d_sae, -2)
    with torch.no_grad():
        rows = torch.randn(d_sae, d, generator=generator)
        sae.W_dec.copy_(F.normalize(rows, dim=1))
        sae.W_enc.copy_(sae.W_dec.T)
        sae.b_dec.copy_(store.mean(0))
    adam = torch.optim.Adam([sae.W_enc, sae.b_enc, sae.b_dec], lr=lr)
    for _ in range(steps):
        if cancelled():
            raise Cancelled("The training of the random frozen decoder was stopped.")
        rows_drawn = torch.randint(len(store), (batch_tokens,), generator=generator)
        x = store[rows_drawn].float()
        f = sae.encode(x)
        norm = x.norm(dim=1, keepdim=True)
        norm = torch.where(norm > 0, norm, torch.inf)  # a zero token has no relative error
        error = ((sae.decode(f) - x) ** 2 / norm).mean()
        adam.zero_grad(set_to_none=True)
        (error + l1 * f.sum(1).mean()).backward()  # type: ignore[no-untyped-call]
        adam.step()
    return sae.requires_grad_(False)
