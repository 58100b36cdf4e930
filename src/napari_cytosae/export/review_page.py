"""The page of a blinded review: cells of each concept, and nothing that says what they are."""

import html
from collections.abc import Sequence
from pathlib import Path

from napari_cytosae.concepts.atlas import Atlas
from napari_cytosae.concepts.atlas.reference_pictures import ReferencePictures
from napari_cytosae.concepts.durable import write_durably
from napari_cytosae.concepts.review import RATINGS, blind_pictures
from napari_cytosae.errors import AtlasError
from napari_cytosae.export.atlas_page import PAGE_STYLE, crop_and_map


def write_review_page(
    atlas: Atlas, concepts: Sequence[int], path: Path, k: int = 10
) -> tuple[int, int]:
    """Write the cells that show each concept best, without labels, names, values or file names.

    What is shown of a concept, and in which order, is as on screen: see `blind_pictures`.

    Parameters
    ----------
    atlas
        The atlas.
    concepts
        Ids, in the sheet's order.
    path
        Where the page goes.
    k
        References of each data set.

    Returns
    -------
    How many pictures it holds, and how many concepts are without any.

    Raises
    ------
    AtlasError
        No reference cell's image is at hand.
    RunError
        The page cannot be written.
    """
    sections, count, without = [], 0, 0
    with ReferencePictures() as pictures:
        for place, concept in enumerate(concepts, start=1):
            shown = [
                crop_and_map(picture.crop, picture.concept_map)
                for picture in blind_pictures(atlas, concept, k, pictures)
            ]
            count += len(shown)
            without += not shown
            cells = "".join(f"<figure><div>{images}</div></figure>" for images in shown)
            sections.append(
                f'<h2 id="c{concept}">{place} <span class="soft">· concept {concept}</span></h2>'
                f'<div class="cells">{cells or "No image is at hand."}</div>'
            )
    if not count:
        raise AtlasError(
            "No reference cell's image is at hand, so there is nothing to show. Build the atlas of "
            "runs or images that lie on this computer, or link a published set to its images."
        )
    words = html.escape(
        f"Look at the cells of each concept, and write into your sheet what they have in common, and "
        f"how clear that is: {', '.join(RATINGS)}. Beside each cell, where the concept is active."
    )
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Review of {len(concepts)} concepts</title><style>{PAGE_STYLE}</style></head>\n"
        f"<body>\n<h1>{len(concepts)} concepts</h1>\n<p>{words}</p>\n"
        + "\n".join(sections)
        + "\n</body></html>\n"
    )
    write_durably(path, lambda part: part.write_text(page, encoding="utf-8"))
    return count, without
