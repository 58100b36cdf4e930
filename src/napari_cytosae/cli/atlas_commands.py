"""The commands ``napari-cytosae atlas …``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from napari_cytosae.cli.group import Commands

atlas = typer.Typer(
    cls=Commands,
    help="Build, import, search and show atlases: what each concept is over whole data sets.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


class TissueChoice(StrEnum):
    """Tissues that carrying over is told for."""

    blood = "blood"
    bone_marrow = "bone-marrow"


_TISSUES: dict[TissueChoice | None, Literal["blood", "bone marrow", ""]] = {
    TissueChoice.blood: "blood",
    TissueChoice.bone_marrow: "bone marrow",
    None: "",
}

AtlasArgument = Annotated[
    Path, typer.Argument(metavar="ATLAS", help="The folder of an atlas.", show_default=False)
]
OutOption = Annotated[
    Path, typer.Option("--out", "-o", metavar="DIR", help="The atlas's folder.", show_default=False)
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace another atlas that is there.")
]
DataSetOption = Annotated[
    str | None,
    typer.Option("--data-set", metavar="NAME", help="One of the atlas's data sets. [default: all]"),
]


@atlas.command("build")
def atlas_build(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN|FOLDER",
            help="Run folders, or folders that hold some; or a folder of images, one folder for "
            "each class, which are encoded whole.",
            show_default=False,
        ),
    ],
    out: OutOption,
    name: Annotated[
        str | None, typer.Option(help="What the data set is called. [default: the folder's name]")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="folder|COLUMN|FILE.csv",
            help="The cells' classes: the folder that a run lies in, a column of its table of "
            "cells, or a table with the columns image, class and perhaps cell.",
        ),
    ] = None,
    tissue: Annotated[TissueChoice | None, typer.Option(help="What the data set shows.")] = None,
    k: Annotated[
        int, typer.Option("--references", "-k", min=1, help="Reference cells for each concept.")
    ] = 10,
    threshold: Annotated[
        float, typer.Option(min=0, help="Tokens above this activation are counted (the paper's τ).")
    ] = 0.2,
    evidence: Annotated[
        bool,
        typer.Option(
            help="Tell where concepts are and what they go with, from runs whose cells were measured."
        ),
    ] = True,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Threads that read runs. [default: processors, up to 4]"),
    ] = None,
    bundle: Annotated[
        str, typer.Option(metavar="NAME|DIR", help="For images: the bundle to encode them with.")
    ] = "starter",
    device: Annotated[str, typer.Option(help="For images: auto, cpu, cuda or mps.")] = "auto",
    overwrite: OverwriteOption = False,
) -> None:
    """Count the concepts of stored runs, or of images.

    A build that was stopped goes on when the command is repeated; with more runs, a finished one
    takes them in.
    """
    from napari_cytosae.cli.atlas import build

    build(
        sources,
        out,
        name=name,
        labels=labels,
        tissue=_TISSUES[tissue],
        k=k,
        threshold=threshold,
        evidence=evidence,
        workers=workers,
        bundle=bundle,
        device=device,
        overwrite=overwrite,
    )


@atlas.command("import")
def atlas_import(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER",
            help="Feature-data folders as CytoSAE publishes them, or a folder of such.",
            show_default=False,
        ),
    ],
    out: OutOption,
    bundle: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|DIR", help="The bundle whose SAE they are of, so that names are shared."
        ),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Read the published statistics of CytoSAE into an atlas, each folder a data set."""
    from napari_cytosae.cli.atlas import import_published

    import_published(folders, out, bundle=bundle, overwrite=overwrite)


@atlas.command("show")
def atlas_show(
    path: AtlasArgument,
    concept: Annotated[
        int | None, typer.Argument(metavar="CONCEPT", help="Number of a concept.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a page with the reference cells' pictures."),
    ] = None,
    k: Annotated[
        int, typer.Option("--references", "-k", min=1, help="Reference cells of each data set.")
    ] = 10,
) -> None:
    """Show an atlas, or one of its concepts.

    The page holds its pictures within itself. Reference cells are cut from their images where
    those are at hand, with the concept's map beside them.
    """
    from napari_cytosae.cli.atlas import show_atlas, show_concept

    if concept is None:
        if html is not None:
            raise typer.BadParameter("--html shows one concept; give its number.")
        show_atlas(path)
    else:
        show_concept(path, concept, html, k)


@atlas.command("search")
def atlas_search(
    path: AtlasArgument,
    words: Annotated[list[str], typer.Argument(metavar="WORD", help="All must be found.")],
    most: Annotated[int, typer.Option("--most", min=1, help="Concepts that are listed.")] = 20,
) -> None:
    """Find concepts by name, suggestion, evidence or number (#123)."""
    from napari_cytosae.cli.atlas import search

    search(path, " ".join(words), most)


@atlas.command("focus")
def atlas_focus(
    path: AtlasArgument,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, help="Mean activation. [default: the valley between the modes]"),
    ] = None,
    data_set: DataSetOption = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the modes and the threshold.")
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv", help="List the concepts in focus, as analyze --focus reads."
        ),
    ] = None,
) -> None:
    """Choose the concepts worth showing and computing, by mean activation."""
    from napari_cytosae.cli.atlas import focus

    focus(path, threshold, data_set, picture, ids)


@atlas.command("tables")
def atlas_tables(path: AtlasArgument, out: OutOption) -> None:
    """Write concepts.csv and references.csv; with labels, generalisation.csv.

    Of measured cells also compartments.csv and correlations.csv.
    """
    from napari_cytosae.cli.atlas import write_tables

    write_tables(path, out)


@atlas.command("merge")
def atlas_merge(
    atlases: Annotated[
        list[Path], typer.Argument(metavar="ATLAS", help="Two or more.", show_default=False)
    ],
    out: OutOption,
    overwrite: OverwriteOption = False,
) -> None:
    """Put atlases of one model together.

    Data sets of one name are added up, others stand side by side.
    """
    from napari_cytosae.cli.atlas import merge

    if len(atlases) < 2:
        raise typer.BadParameter("Give two atlases or more.")
    merge(atlases, out, overwrite=overwrite)


@atlas.command("link")
def atlas_link(
    path: AtlasArgument,
    data_set: Annotated[str, typer.Argument(metavar="DATA-SET", help="A published one.")],
    images: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Its images, one folder for each class.")
    ],
) -> None:
    """Say where the original images of a published data set lie, so that references show them."""
    from napari_cytosae.cli.atlas import link

    link(path, data_set, images)


class NamesAction(StrEnum):
    """What to do with names."""

    show = "list"
    give = "set"
    take = "unset"
    merge = "merge"
    export = "export"
    bring = "import"


@atlas.command("names")
def atlas_names(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="ATLAS",
            help="Whose concepts: an atlas, a run, a bundle, or a file of names.",
            show_default=False,
        ),
    ],
    action: Annotated[
        NamesAction, typer.Argument(metavar="list|set|unset|merge|export|import")
    ] = NamesAction.show,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[…]",
            help="list: words to look for. set: number and name. unset: number. merge: another "
            "file of names, or atlas. export: FILE.csv, or any other for the whole history. "
            "import: FILE.csv with the columns concept and name.",
            show_default=False,
        ),
    ] = None,
    suggested: Annotated[
        bool, typer.Option("--suggested", help="list, export: suggested names too.")
    ] = False,
    author: Annotated[str | None, typer.Option(help="set, import: who says so.")] = None,
    tissue: Annotated[
        str, typer.Option(help="set: nucleus, cytoplasm, membrane, background or artefact.")
    ] = "",
    synonym: Annotated[
        list[str] | None, typer.Option(help="set: another word; repeatable.")
    ] = None,
    notes: Annotated[str, typer.Option(help="set: anything else.")] = "",
    confidence: Annotated[
        float | None, typer.Option(min=0, max=1, help="set: how sure, 0 to 1.")
    ] = None,
) -> None:
    """List, give, merge and hand on the names of concepts.

    Names live in one file for each autoencoder, which a lab can share; a merge loses nothing, and
    shows side by side what people disagree on.
    """
    from napari_cytosae.cli import names

    given = arguments or []

    def number(text: str) -> int:
        try:
            return int(text.lstrip("#"))
        except ValueError:
            raise typer.BadParameter(f"{text!r} is no concept's number.") from None

    wanted = {
        NamesAction.give: 2, NamesAction.take: 1, NamesAction.merge: 1, NamesAction.export: 1,
        NamesAction.bring: 1,
    }  # fmt: skip
    if action in wanted and len(given) < wanted[action]:
        raise typer.BadParameter(f"{action.value} needs {wanted[action]} more; see --help.")
    if action == NamesAction.show:
        names.list_names(path, " ".join(given), suggested)
    elif action in (NamesAction.give, NamesAction.take):
        names.give_name(
            path,
            number(given[0]),
            " ".join(given[1:]) if action == NamesAction.give else "",
            tissue=tissue,
            notes=notes,
            synonyms=synonym or [],
            confidence=confidence,
            author=author,
        )
    elif action == NamesAction.merge:
        names.merge_names(path, Path(given[0]))
    elif action == NamesAction.export:
        names.export_names(path, Path(given[0]), suggested)
    else:
        names.import_names(path, Path(given[0]), author)


@atlas.command("review")
def atlas_review(
    path: AtlasArgument,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="The review's folder.", show_default=False),
    ],
    reviewer: Annotated[
        list[str], typer.Option(help="Who reviews; repeatable.", show_default=False)
    ],
    clusters: Annotated[int, typer.Option(min=1, help="Regions of activation and frequency.")] = 10,
    per_cluster: Annotated[int, typer.Option(min=1, help="Concepts drawn from each.")] = 5,
    k: Annotated[
        int, typer.Option("--references", "-k", min=1, help="Cells of each data set.")
    ] = 10,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
) -> None:
    """Draw concepts for a blinded review: one page of cells without labels, a sheet for each person.

    A sheet that is there is kept as it is.
    """
    from napari_cytosae.cli.review import begin_review

    begin_review(path, out, reviewer, clusters=clusters, per_cluster=per_cluster, k=k, seed=seed)


@atlas.command("agreement")
def atlas_agreement(
    sheets: Annotated[
        list[Path],
        typer.Argument(metavar="SHEET.csv", help="Two or more, filled in.", show_default=False),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE.md", help="A report as Markdown.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the intervals.")] = 0,
) -> None:
    """Tell how far reviewers agree: Cohen's and Fleiss' kappa, with intervals."""
    from napari_cytosae.cli.review import tell_agreement

    tell_agreement(sheets, out, seed)
