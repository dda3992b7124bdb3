"""Sphinx configuration: `make docs` builds the site offline, and every warning is an error."""

from datetime import UTC, datetime

from meritorder import __version__

project = "Meritorder"
copyright = f"{datetime.now(tz=UTC).year}, the Meritorder authors"  # noqa: A001 - Sphinx's name
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
nitpicky = True
nitpick_ignore_regex = [("py:.*", r".*")]  # types of other libraries: no inventory is fetched

myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath", "deflist"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_format = "short"

html_theme = "furo"
html_title = "Meritorder"
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
