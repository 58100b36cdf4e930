"""Sphinx configuration; warnings are errors when the project's checks build the site."""

from importlib.metadata import version as installed_version

project = "napari-cytosae"
author = "The napari-cytosae developers"
copyright = f"2026, {author}"
version = release = installed_version("napari-cytosae")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "napari-cytosae"
html_static_path: list[str] = []
