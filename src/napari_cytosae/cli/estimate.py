"""The option ``analyze --estimate``: what an analysis would find and cost, before it is begun."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from napari_cytosae.cli.analyze import AnalyzeOptions, find_images, load
from napari_cytosae.cli.console import CANCELLED, complain, plain_table, results
from napari_cytosae.cli.progress import Display, stop_on_ctrl_c
from napari_cytosae.errors import Cancelled, CytoSAEError

if TYPE_CHECKING:
    from napari_cytosae.concepts.estimate import Estimate
    from napari_cytosae.models import Bundle


def estimate_images(paths: list[Path], out: Path, options: AnalyzeOptions) -> int:
    """Say for each image how many cells it would have, and what analysing it would cost.

    Returns
    -------
    int
        Exit status: 0, 1 where an image cannot be analysed or the disk has no room for all, 130
        after Ctrl-C.
    """
    from napari_cytosae.concepts.estimate import check_room, together

    images = find_images(paths)
    done: list[tuple[Path, Estimate]] = []
    failed: list[CytoSAEError] = []
    with stop_on_ctrl_c() as cancelled, Display(len(images)) as display:
        display.stage("open")
        bundle = load(options)
        for image in images:
            display.begin(image.name)
            try:
                done.append((image, _estimate_one(image, out, bundle, options, display, cancelled)))
            except Cancelled as error:
                failed.append(error)
                break
            except CytoSAEError as error:
                complain(error if image.name in str(error) else f"{image.name}: {error}")
                failed.append(error)
    print_estimates(done)
    if failed and isinstance(failed[-1], Cancelled):
        complain(failed[-1])
        return CANCELLED
    if done:
        try:
            check_room(together([estimate for _, estimate in done]), out)
        except CytoSAEError as error:
            complain(error)
            return 1
    return 1 if failed else 0


def _estimate_one(
    image: Path,
    out: Path,
    bundle: "Bundle",
    options: AnalyzeOptions,
    display: Display,
    cancelled: Callable[[], bool],
) -> "Estimate":
    from napari_cytosae.concepts import AnalysisJob
    from napari_cytosae.concepts.trial import estimate_analysis
    from napari_cytosae.slides import Slide

    display.stage("open")
    with Slide.open(image, microns_per_pixel=options.microns_per_pixel, associated=False) as slide:
        job = AnalysisJob(
            image=slide,
            bundle=bundle,
            cells=options.cells,
            out=out,
            precision=options.precision,
            device=options.device,
            microns_per_pixel=options.microns_per_pixel,
            crop_um=options.crop_um,
            threshold=options.threshold,
            region=options.region,
        )
        steps = estimate_analysis(job, cancelled)
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                estimate: Estimate = end.value
                return estimate
            display.stage(step.stage, step.done, step.total, approximate=True)


def print_estimates(estimates: "list[tuple[Path, Estimate]]") -> None:
    """Print one line for each image, and one for all of them."""
    from napari_cytosae.concepts.estimate import in_words, together
    from napari_cytosae.in_words import megabytes

    if not estimates:
        return
    table = plain_table("image", "estimate")
    for image, estimate in estimates:
        table.add_row(Text(image.name), Text(in_words(estimate)))
    if len(estimates) > 1:
        all_of_them = together([estimate for _, estimate in estimates])
        table.add_row(Text("all"), Text(in_words(all_of_them)))
    console = results()
    console.print(table)
    free = megabytes(estimates[0][1].free_bytes)
    console.print(Text(f"{free} of the disk are free. Nothing was written."), soft_wrap=True)
