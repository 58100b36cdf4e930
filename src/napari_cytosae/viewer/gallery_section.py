"""One data set's part of the gallery: what it is, what can be done with it, its cells."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QSizePolicy, QToolButton, QVBoxLayout, QWidget
from superqt import QElidingLabel

from napari_cytosae.viewer.gallery_tiles import TileStrip
from napari_cytosae.viewer.gallery_work import THIS_SLIDE, Section


class GallerySection(QWidget):
    """Head and tiles of a `Section`; the slide on show has more to offer than others."""

    more_wanted = Signal()
    slide_wanted = Signal()  # the concept on the whole slide

    def __init__(self, section: Section, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        words = section.title if section.n_tiles else f"{section.title} · no cell shows it"
        self.head = QElidingLabel(words)
        self.head.setToolTip(words)
        self.head.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        font = self.head.font()
        font.setBold(True)
        self.head.setFont(font)
        self.on_slide = QToolButton()
        self.on_slide.setText("Show on slide")
        self.on_slide.setToolTip(
            "Pin the concept's map, colour all cells by it, and go through them by it: N the next "
            "weaker one, P the next stronger one."
        )
        self.on_slide.clicked.connect(self.slide_wanted)
        self.on_slide.setVisible(section.data_set == THIS_SLIDE and section.n_tiles > 0)
        self.more = QToolButton()
        self.more.setText("More")
        self.more.setToolTip(f"{section.n_more:,} more cells have it.")
        self.more.clicked.connect(self.more_wanted)
        self.more.setVisible(section.n_more > 0)
        self.strip = TileStrip()
        self.strip.setAccessibleName(words)
        self.strip.expect(section.n_tiles)
        row = QHBoxLayout()
        row.addWidget(self.head, 1)
        row.addWidget(self.on_slide)
        row.addWidget(self.more)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addLayout(row)
        column.addWidget(self.strip)
        column.addStretch(1)  # beside a longer one
