"""Write the model card, with its numbers filled in from the measurement."""

# ruff: noqa: E501 – the rows of a Markdown table cannot be wrapped

from typing import Any

TEMPLATE = """\
# Model card: the starter bundle

**Not for diagnosis. Not DinoBloom, and not the published CytoSAE.** A small vision transformer and
its sparse autoencoder, small enough to ship with the software, so that everything in it can be
tried at once and with no download. Its concepts are its own: their numbers and meanings have
nothing to do with those of the paper.

## What it is

| part | |
| --- | --- |
| backbone | vision transformer, patch 14, {image_size} px, 257 tokens, width {d_model}, {heads} heads, {blocks} blocks, {backbone_million:.1f} million weights |
| autoencoder | {d_sae} concepts on the residual stream after the last of these blocks (block {block}, counted from 0), `f = ReLU((x − b_dec) W_enc + b_enc)`, `x̂ = f W_dec + b_dec` |
| input | an RGB crop of about 25 µm around a cell, bilinear to {image_size} px, ImageNet mean and deviation |
| files | `backbone.safetensors` (DINOv2's key names), `sae.safetensors`, `sae.json`, `bundle.json`; float16, {megabytes:.1f} MB |

## What it was made from

| data | licence | trained on | held out |
| --- | --- | --- | --- |
| BCCD, Wright-stained blood fields | MIT | {train_bccd} fields | the first {held_bccd} by name |
| Chula RBC-12, red-cell fields | MIT | {train_chula_fields} fields | the last {held_chula_fields} by name |
| Chula RBC-12, fields by disease | MIT | {train_chula_diseases} fields | the last {held_chula_diseases}, a fifth of every folder |

Teacher: DINOv2 ViT-S/14 (Oquab et al. 2023, Apache-2.0). It was used in training; none of its
weights are contained. The weights of this bundle are under the software's licence, BSD-3-Clause.

## How it was made

`python scripts/build_starter.py --data DATA --out OUT` in the software's source; seed {seed}.

1. **Crops.** {training_crops} squares of the training fields around white cells, red cells, platelets
   and anywhere, most of them near 25 µm wide; half of them with their stain, light and white balance varied.
2. **Distillation.** The teacher's residual streams after its last two blocks, standardised per
   dimension, are the targets; the student reads them off its own last residual stream through one
   linear layer, on turned, mirrored and slightly tinted crops. Mean squared error, class token
   counted eight times; a mild penalty keeps the variance of every dimension near one.
   {distil_steps} steps of {distil_batch} crops, Muon and AdamW, learning rate {distil_lr}.
3. **Autoencoder.** On the student's tokens of all crops, as they are and turned and tinted anew:
   mean over elements of `(x̂ − x)² / ‖x‖₂` plus {l1} times the mean L1 norm of the activations,
   {sae_steps} steps of {sae_batch} tokens, Adam, learning rate {sae_lr}, unit decoder rows, decoder
   begun at the directions of tokens, silent concepts restarted.{prefixes}

## What was measured

On images that nothing was trained on, with the shipped weights; printed by the script above. A
patch shows a nucleus (red cell, background) where more than half of it does by colour and box,
and counts among the rest where less than 5 % does; others are left out. Each concept was
chosen on training images. {nucleus_patches} nucleus, {red_cell_patches} red-cell and {background_patches} background patches.

| one concept against the rest of the patches | concept | AUROC |
| --- | --- | --- |
| nucleus of a white cell | {nucleus_concept} | {nucleus_auroc:.3f} |
| red cell | {red_cell_concept} | {red_cell_auroc:.3f} |
| background | {background_concept} | {background_auroc:.3f} |

| | BCCD | Chula RBC-12 |
| --- | --- | --- |
| concepts active per token (L0) | {l0_bccd:.1f} | {l0_chula:.1f} |
| explained variance, centred | {explained_variance_bccd:.2f} | {explained_variance_chula:.2f} |

- Active values: 10 % are below {low:.2f}, half below {middle:.2f}, 90 % below {high:.2f}.
- Concepts silent on a quarter of a million training tokens: {dead_percent:.1f} %.
- Cosine of the predicted to the teacher's tokens (block −2): {teacher_cosine:.2f}; of the
  standardised tokens, where the common mean does not help: {teacher_cosine_standardised:.2f}.

## What it cannot do

- It has seen two data sets of blood, in two or three cameras and stains, and **no bone marrow**.
  Elsewhere its concepts may mean something else, or nothing.
- Truth was drawn by colour thresholds in annotated boxes, not by hand, and both the data sets and
  the measurement favour large, well-stained structures. Cytoplasm and granules are not measured.
- It was taught few white cells of each kind: it tells parts of cells apart better than kinds of cell.
- BCCD's fields come from few slides, so held-out fields resemble those it was trained on.
- A concept that marks nuclei does not prove that the model knows what a nucleus is.
"""


def model_card(facts: dict[str, Any]) -> str:
    """Fill in the card.

    Parameters
    ----------
    facts
        The metrics, the recipe's numbers and the shape of the model by the template's names.
    """
    return TEMPLATE.format_map(facts)
