"""Dense activations of patients' cells, and barcodes made of them."""

from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from napari_cytosae.cohorts import Cohort, Patient, Sums, build_barcodes

TAU = 0.2


def random_cells(rng, n_cells, n_concepts, n_tokens=17, share=0.1):
    """(cells, tokens, concepts), exact in float16, most of it 0."""
    values = rng.gamma(1.0, 0.3, (n_cells, n_tokens, n_concepts))
    values *= rng.random(values.shape) < share
    return values.astype(np.float16).astype(np.float64)


def sums_of(dense, image=0, k=4, tau=TAU):
    """Sums of dense activations (cells, tokens, concepts), through the sparse tables of runs."""
    return Sums.of_matrices(
        csr_array((dense > tau).sum(axis=1)),
        csr_array(dense.mean(axis=1)),
        csr_array(dense.max(axis=1)),
        np.arange(1, len(dense) + 1),
        image,
        k,
    )


def cohort_of(diagnoses, covariates=None):
    """A cohort of patients without files."""
    return Cohort(
        tuple(
            Patient(f"P{n:03d}", diagnosis, (Path(f"{n}.png"),), (covariates or {}).get(n, {}))
            for n, diagnosis in enumerate(diagnoses)
        )
    )


def barcodes_of(dense_of_patients, diagnoses, covariates=None, **options):
    """Barcodes of dense activations, one image per patient."""
    sums = [sums_of(dense, image=n) for n, dense in enumerate(dense_of_patients)]
    return build_barcodes(cohort_of(diagnoses, covariates), sums, TAU, **options)


def random_barcodes(seed=0, n_patients=8, n_concepts=30):
    rng = np.random.default_rng(seed)
    dense = [random_cells(rng, rng.integers(3, 12), n_concepts) for _ in range(n_patients)]
    diagnoses = [("healthy", "AML")[n % 2] for n in range(n_patients)]
    return dense, barcodes_of(dense, diagnoses)


def single_cell(seed, shift=0, side=64):
    """A picture of one made cell: coarse colour noise, redder or bluer."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 200, (side // 8, side // 8, 3))
    coarse[..., 0] += shift
    return coarse.clip(0, 255).astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)
