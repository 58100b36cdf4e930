"""The page of a concept: whole in itself, with pictures, and safe against its own content."""

import base64
import io
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from made_runs import make_run, measure_made_run
from napari_cytosae.concepts.atlas import Atlas
from napari_cytosae.errors import AtlasError
from napari_cytosae.export import draw_focus, write_concept_page


@pytest.fixture
def atlas(run, tmp_path):
    return Atlas.build(run.path, name="fields & <b>cells</b>")


class Tags(HTMLParser):
    """Checks that every element is closed in its turn."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, text):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_shows_reference_cells_and_their_maps(atlas, run, tmp_path):
    concept = int(atlas.table["mean_activation"].to_numpy().argmax())
    atlas.names = {concept: "a <script>name</script>"}
    write_concept_page(atlas, concept, tmp_path / "page.html", k=3)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    tags = Tags(text)
    assert not tags.open
    assert "script" not in tags.seen
    assert "a &lt;script&gt;name" in text
    assert "fields &amp; &lt;b&gt;cells" in text
    assert not re.search(r'(src|href)="(?!data:)', text)  # nothing from elsewhere
    images = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', text)
    n = min(3, len(atlas.top(concept)))
    assert len(images) == 2 * n
    crop, heat = (np.asarray(Image.open(io.BytesIO(base64.b64decode(i)))) for i in images[:2])
    assert crop.shape == heat.shape == (168, 168, 3)
    assert np.abs(crop.astype(int) - heat).max() > 20


def test_the_page_says_why_cells_are_not_shown(run, tmp_path):
    moved = tmp_path / "elsewhere" / "smear.cytosae"
    shutil.copytree(run.path, moved)  # away from its slide
    atlas = Atlas.build(moved)
    concept = int(atlas.table["mean_activation"].to_numpy().argmax())
    write_concept_page(atlas, concept, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "are not shown" in text
    assert not Tags(text).open


def test_a_concept_that_is_never_active(atlas, tmp_path):
    never = atlas.table.index[atlas.table["images"] == 0]
    if len(never):
        write_concept_page(atlas, int(never[0]), tmp_path / "page.html")
        assert "Never active" in (tmp_path / "page.html").read_text(encoding="utf-8")
    with pytest.raises(AtlasError, match="go from 0"):
        write_concept_page(atlas, atlas.d_sae, tmp_path / "none.html")
    assert not (tmp_path / "none.html").exists()


def test_a_focus_is_drawn_whatever_it_looks_like(atlas, tmp_path):
    for threshold in (None, 0.0, 1e9):
        draw_focus(atlas.focus(threshold), "a $title_ with all sorts", tmp_path / "focus.png")
        with Image.open(tmp_path / "focus.png") as drawn:
            assert drawn.size == (1200, 630)


def test_the_page_shows_what_measured_cells_tell(tmp_path):
    made = make_run(tmp_path / "slide.cytosae", 60, 1, distinct=40)
    measure_made_run(made)
    write_concept_page(Atlas.build(made.path, name="<i>made</i>"), 5, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not Tags(text).open
    assert "Measured cells suggest <em>cell area ρ" in text
    assert "In measured cells" in text
    assert "× " in text or " ×" in text
    assert "<em>high cell area</em> (suggested)" in text
    write_concept_page(Atlas.build(made.path, evidence=False), 5, tmp_path / "page.html")
    assert "measured cells" not in (tmp_path / "page.html").read_text(encoding="utf-8")
