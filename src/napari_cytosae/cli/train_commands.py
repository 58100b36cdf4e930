"""The commands ``napari-cytosae train …``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from napari_cytosae.cli.group import Commands

train = typer.Typer(
    cls=Commands,
    help="Train sparse autoencoders on a backbone's tokens: extract, train, report, sweep.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


class PresetChoice(StrEnum):
    """Ready-made recipes."""

    quick = "quick"
    laptop = "laptop"
    paper = "paper"


class SaeLensChoice(StrEnum):
    """What SAELens trains."""

    standard = "standard"
    gated = "gated"
    jumprelu = "jumprelu"
    batchtopk = "batchtopk"
    matryoshka = "matryoshka_batchtopk"


class ActivationChoice(StrEnum):
    """What keeps a token's concepts few."""

    relu = "relu"
    topk = "topk"
    batchtopk = "batchtopk"


StoreArgument = Annotated[
    Path,
    typer.Argument(metavar="TOKENS", help="A folder of `train tokens`.", show_default=False),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
PrecisionOption = Annotated[str, typer.Option(help="auto, float32 or bfloat16.")]


@train.command("tokens")
def train_tokens(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGES",
            help="Images, slides, runs, folders of these (subfolders are classes), or tables (CSV) "
            "with the columns path and label.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="The store.", show_default=False)
    ],
    bundle: Annotated[
        str, typer.Option("--bundle", "-b", metavar="NAME|DIR", help="Whose backbone to use.")
    ] = "starter",
    backbone: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A backbone without an autoencoder, instead."),
    ] = None,
    block: Annotated[
        int | None,
        typer.Option(help="Block after which tokens are read. [default: the bundle's, or −2]"),
    ] = None,
    cells: Annotated[
        str,
        typer.Option(
            metavar="auto|whole|detect|red[,…]",
            help="What becomes a crop; auto takes images up to 448 px whole, and finds nucleated "
            "cells in larger ones.",
        ),
    ] = "auto",
    crop_um: Annotated[float, typer.Option(min=1, help="Side of a crop around a cell, µm.")] = 25.0,
    microns_per_pixel: Annotated[
        float | None, typer.Option(min=0.001, help="Pixel size, where the files do not say.")
    ] = None,
    class_token_only: Annotated[
        bool, typer.Option("--class-token-only", help="Keep the class token of each crop alone.")
    ] = False,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    batch_images: Annotated[int, typer.Option(min=1, help="Crops per forward pass.")] = 16,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Drop what the store holds of other images.")
    ] = False,
) -> None:
    """Make the tokens of images, once, into a store.

    Stopped anywhere, the same command goes on; with more images, a finished store takes them in.
    """
    from napari_cytosae.cli.train import tokens

    tokens(
        images,
        out,
        bundle=bundle,
        backbone=backbone,
        block=block,
        cells=cells,
        crop_um=crop_um,
        microns_per_pixel=microns_per_pixel,
        class_token_only=class_token_only,
        device=device,
        precision=precision,
        batch_images=batch_images,
        overwrite=overwrite,
    )


@train.command("sae")
def train_sae(
    store: StoreArgument,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="The training.", show_default=False),
    ],
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings as JSON; others stay the paper's.")
    ] = None,
    preset: Annotated[
        PresetChoice | None, typer.Option(help="A ready-made recipe. [default: paper]")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the training that is there.")
    ] = False,
    expansion: Annotated[
        int | None, typer.Option(min=1, help="Concepts per dimension of a token.")
    ] = None,
    l1: Annotated[float | None, typer.Option(min=0, help="λ, the weight of sparsity.")] = None,
    lr: Annotated[float | None, typer.Option(min=0, help="Learning rate.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Length of the training.")] = None,
    batch_images: Annotated[int | None, typer.Option(min=1, help="Images per step.")] = None,
    batch_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens per step, instead of whole images.")
    ] = None,
    activation: Annotated[
        ActivationChoice | None, typer.Option(help="ReLU with λ, or k concepts per token.")
    ] = None,
    k: Annotated[int | None, typer.Option(min=1, help="For topk and batchtopk.")] = None,
    saelens: Annotated[
        SaeLensChoice | None,
        typer.Option(help="Train another architecture, by SAELens and with its loss."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting of SAELens; several may be."),
    ] = None,
    ghost_gradients: Annotated[
        bool | None,
        typer.Option(
            "--ghosts/--no-ghosts",
            help="Whether silent concepts get ghost gradients. [default: with relu]",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights and order.")] = None,
    name: Annotated[
        str | None, typer.Option(help="What the bundle is called. [default: the folder's name]")
    ] = None,
    device: DeviceOption = "auto",
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write events for TensorBoard.")
    ] = False,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 200,
) -> None:
    """Train an autoencoder on stored tokens by the CytoSAE recipe.

    Ctrl-C keeps what is done; --resume goes on with it. In the end the folder holds a bundle that
    `analyze` and napari take.
    """
    from napari_cytosae.cli.train import sae

    sae(
        store,
        out,
        config=config,
        preset=None if preset is None else preset.value,
        resume=resume,
        settings={
            "expansion": expansion,
            "l1": l1,
            "lr": lr,
            "steps": steps,
            "batch_images": batch_images,
            "batch_tokens": batch_tokens,
            "activation": None if activation is None else activation.value,
            "k": k,
            "saelens": None if saelens is None else {"architecture": saelens.value},
            "set": set_,
            "ghost_gradients": ghost_gradients,
            "seed": seed,
        },
        name=name,
        device=device,
        tensorboard=tensorboard,
        checkpoint_every=checkpoint_every,
    )


@train.command("report")
def train_report(
    training: Annotated[
        Path,
        typer.Argument(
            metavar="TRAINING", help="A finished folder of `train sae`.", show_default=False
        ),
    ],
    tokens: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A store of images that it was not trained on. [default: the training's own]",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="[default: report.html in the folder]"),
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="Measure on so many images, evenly picked.")
    ] = None,
    permutations: Annotated[
        int, typer.Option(min=0, help="Of the labels, for the null of AUROCs.")
    ] = 99,
) -> None:
    """Write one page about a training: curves, figures beside baselines, example concepts."""
    from napari_cytosae.cli.train import report

    report(training, tokens=tokens, out=out, images=images, permutations=permutations)


@train.command("sweep")
def train_sweep(
    stores: Annotated[
        list[Path],
        typer.Argument(
            metavar="TOKENS",
            help="Stores of the same images, one for each block.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="The sweep.", show_default=False)
    ],
    axis: Annotated[
        list[str] | None,
        typer.Option("--axis", metavar="NAME=V,V,…", help="A setting and its values; repeatable."),
    ] = None,
    paper: Annotated[
        bool, typer.Option("--paper", help="The paper's axes, but for blocks without a store.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The base's settings as JSON.")
    ] = None,
    preset: Annotated[
        PresetChoice | None, typer.Option(help="The base's recipe. [default: paper]")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Length of each training.")] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Every combination, not one axis at a time.")
    ] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each point.")] = 1,
    held_out: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="Share of the images that is measured on.")
    ] = 0.2,
    figure: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="PNG, SVG or PDF. [default: sweep.png in the folder]"),
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Train over a grid of settings, and draw what each setting does.

    Stopped anywhere, the same command goes on.
    """
    from napari_cytosae.cli.train import sweep

    sweep(
        stores,
        out,
        axes=axis or [],
        paper=paper,
        config=config,
        preset=None if preset is None else preset.value,
        steps=steps,
        full=full,
        seeds=seeds,
        held_out=held_out,
        figure=figure,
        device=device,
    )
