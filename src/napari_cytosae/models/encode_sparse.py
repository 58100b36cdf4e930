"""Encode tokens to sparse activations without holding tokens × concepts."""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from napari_cytosae.models.sparse import SparseActivations

# Tokens per dense chunk: 256 × 49,152 float32 is 50 MB.
CHUNK_TOKENS = 256


@torch.no_grad()
def encode_sparse(
    tokens: torch.Tensor,
    w_enc: torch.Tensor,
    b_enc: torch.Tensor,
    b_dec: torch.Tensor,
    threshold: float = 0.0,
    chunk_tokens: int = CHUNK_TOKENS,
) -> SparseActivations:
    """Give the activations above `threshold`; see `SparseAutoencoder.encode_sparse`."""
    if tokens.ndim != 2 or tokens.shape[1] != w_enc.shape[0]:
        raise ValueError(f"tokens must be (N, {w_enc.shape[0]}), not {tuple(tokens.shape)}")
    if not threshold >= 0.0:
        raise ValueError(f"threshold must not be negative: {threshold}")
    parts = list(_chunks(tokens, w_enc.t(), b_enc, b_dec, threshold, chunk_tokens))
    counts = np.concatenate([counts for counts, _, _ in parts] or [np.zeros(0, np.int64)])
    return SparseActivations(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.concatenate([indices for _, indices, _ in parts] or [np.zeros(0, np.int32)]),
        np.concatenate([values for _, _, values in parts] or [np.zeros(0, np.float32)]),
        (len(tokens), w_enc.shape[1]),
    )


def _chunks(
    tokens: torch.Tensor,
    weight: torch.Tensor,
    b_enc: torch.Tensor,
    b_dec: torch.Tensor,
    threshold: float,
    chunk_tokens: int,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    for start in range(0, len(tokens), chunk_tokens):
        centred = tokens[start : start + chunk_tokens].to(torch.float32) - b_dec
        pre = F.linear(centred, weight, b_enc)
        found = torch.nonzero(pre > threshold)
        values = pre[found[:, 0], found[:, 1]].cpu().numpy()
        rows, columns = found.t().cpu().numpy()
        yield np.bincount(rows, minlength=len(centred)), columns.astype(np.int32), values
