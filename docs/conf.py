"""How Sphinx makes the site. `make docs` runs it; the page is docs/_build/html/index.html.

The source folder is the repository itself, not docs/: so every page, notebook and picture lies where it lies on GitHub,
and a relative link or picture means the same there and on the site.
"""

import html
import io
import os
from pathlib import Path
from typing import Any

from docutils import nodes
from matplotlib.figure import Figure
from sphinx import addnodes
from sphinx.application import Sphinx

import cnnclf
from cnnclf import RECIPES, CNNClassifier, load_digits
from cnnclf.evaluation._overfitting import RULE

ROOT = Path(__file__).parent.parent
GITHUB = "https://github.com/cnnclf/cnnclf"
SERIF = "Iowan Old Style, Palatino Linotype, Palatino, Charter, Noto Serif, Liberation Serif, serif"

project = "cnnclf"
author = "The cnnclf developers"
project_copyright = author
version = release = cnnclf.__version__

extensions = [
    "myst_nb",  # Markdown pages, and the notebooks with the outputs that they have
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_copybutton",
]
root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "notebooks/*.ipynb",
    "benchmarks/RESULTS.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "CONTRIBUTING.md",
]
exclude_patterns = [".*", "docs/_build"]
rst_epilog = f".. |rule| replace:: {RULE}"

myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]  # the notebooks have formulas
nb_execution_mode = "off"
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say it in words, with shape and unit
autodoc_default_options = {
    "members": True,
    "exclude-members": "set_fit_request, set_partial_fit_request, set_score_request",
}
autodoc_preserve_defaults = True
autosummary_generate = False  # its tables are above the entries of the same page
smartquotes = False  # the names of parameters are in straight ones
numpydoc_show_class_members = False  # autodoc lists them
add_module_names = False
toc_object_entries_show_parents = "hide"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = f"cnnclf {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["_root"]  # the front door: /index.html leads to /docs/index.html
html_copy_source = False
html_math_renderer = "mathtext"
# The colours of the walkthrough's page and of the reports.
html_theme_options = {
    "source_repository": GITHUB,
    "source_branch": "main",
    "source_directory": "",
    "top_of_page_buttons": ["view"],
    "light_css_variables": {
        "font-stack--headings": SERIF,
        "color-brand-primary": "#1f66a3",
        "color-brand-content": "#1f66a3",
        "color-brand-visited": "#1f66a3",
        "color-background-primary": "#fdfcf9",
        "color-background-secondary": "#f3f1ea",
        "color-background-border": "#d9d6ce",
        "color-foreground-primary": "#1e1f22",
        "color-foreground-secondary": "#55575c",
        "color-foreground-muted": "#62646a",
    },
    "dark_css_variables": {
        "color-brand-primary": "#7db8ea",
        "color-brand-content": "#7db8ea",
        "color-brand-visited": "#7db8ea",
        "color-background-primary": "#15161a",
        "color-background-secondary": "#1d1f24",
        "color-background-border": "#35373d",
        "color-foreground-primary": "#dedbd4",
        "color-foreground-secondary": "#b3b2ae",
        "color-foreground-muted": "#9a9b9f",
    },
}


def link_to_github(app: Sphinx, doctree: nodes.document) -> None:
    """Send links to what is in the repository but not on the site, such as a script or a folder, to GitHub."""
    here = Path(app.env.doc2path(app.env.docname)).parent
    for node in [*doctree.findall(addnodes.download_reference), *doctree.findall(addnodes.pending_xref)]:
        if node.get("reftype") != "myst" or node["reftarget"] in app.env.found_docs:
            continue
        if node.get("refdomain") == "doc":  # a page, by its name within the repository and without its ending
            target, anchor = ROOT / f"{node['reftarget']}.md", node["reftargetid"]
        else:
            path, _, anchor = node["reftarget"].partition("#")
            target = Path(os.path.normpath(here / path))
        if target.exists():  # of a dead link Sphinx warns
            kind, name = "tree" if target.is_dir() else "blob", target.relative_to(ROOT).as_posix()
            address = f"{GITHUB}/{kind}/main/{name}" + (f"#{anchor}" if anchor else "")
            node.replace_self(nodes.reference("", "", *(child.deepcopy() for child in node.children), refuri=address))


def leave_out_foreign_pictures(app: Sphinx, doctree: nodes.document) -> None:
    """Replace pictures from other hosts, such as Colab's badge, by their text: a page contacts no other host."""
    for image in [*doctree.findall(nodes.image)]:
        if "://" in image["uri"]:
            image.replace_self(nodes.Text(image["alt"]))


def draw_formula(translator: Any, node: nodes.Element) -> None:
    """Write a formula as inline SVG: MathJax would come from another host."""
    formula, picture = node.astext().strip(), io.BytesIO()
    figure = Figure()
    figure.text(0, 0, f"${formula}$", fontsize=15)
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(picture, format="svg", transparent=True, bbox_inches="tight", pad_inches=0.02, metadata=nothing)
    svg = picture.getvalue().decode()
    label = html.escape(formula, quote=True)
    translator.body.append(f'<span class="formula" role="img" aria-label="{label}">{svg[svg.index("<svg") :]}</span>')
    raise nodes.SkipNode


def write_live_page(app: Sphinx, error: Exception | None) -> None:
    """Write the page of a small network beside the site's; the first page shows it."""
    if error is not None or app.builder.format != "html":
        return
    X, y = load_digits()
    clf = CNNClassifier(**RECIPES["handwriting"], preparation="handwriting", random_state=0).fit(X, y)
    clf.to_html(Path(app.outdir) / "network.html", X[:20])


def setup(app: Sphinx) -> None:
    """Connect what is above."""
    app.connect("doctree-read", link_to_github, priority=100)  # before Sphinx copies what is linked as a download
    app.connect("build-finished", write_live_page)
    app.connect("doctree-read", leave_out_foreign_pictures, priority=100)
    app.add_html_math_renderer("mathtext", inline_renderers=(draw_formula, None), block_renderers=(draw_formula, None))
