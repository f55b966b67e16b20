"""Sphinx's configuration: `make docs` builds the site into build/docs.

The build needs no network. With ``NEARCACHE_DOCS_ONLINE=1`` it fetches the inventories of Python and Django,
so that their classes are links. A relative link from a page to a file of the repository that is no page, such
as a source file, becomes a link to the repository if pyproject.toml names its address
(``[project.urls] Repository``), and plain text if not.
"""

import os
import re
import sys
from pathlib import Path

import django
from django.conf import settings
from docutils import nodes
from sphinx import addnodes

import nearcache

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REPOSITORY = PROJECT.get("urls", {}).get("Repository", "").rstrip("/")
# Files of the repository that the site has as pages.
PAGES = {
    ROOT / "CHANGELOG.md": "changelog",
    ROOT / "CONTRIBUTING.md": "design/contributing",
    ROOT / "README.md": "index",
    ROOT / "SECURITY.md": "security",
}

# autodoc imports the package, and the package reads settings.
settings.configure()
django.setup()

project = "nearcache"
version = release = nearcache.__version__
author = PROJECT["authors"][0]["name"]
copyright = author

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.intersphinx"]
nitpicky = True

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

default_role = "py:obj"
add_module_names = False
python_use_unqualified_type_names = True
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True

online = os.environ.get("NEARCACHE_DOCS_ONLINE") == "1"
intersphinx_mapping = (
    {
        "python": ("https://docs.python.org/3", None),
        "django": (
            "https://docs.djangoproject.com/en/stable/",
            "https://docs.djangoproject.com/en/stable/_objects/",
        ),
    }
    if online
    else {}
)
# Without the inventories, names of other projects lead nowhere.
nitpick_ignore_regex = [] if online else [(r"py:.*", r"(?!nearcache\b).*")]
# Variables of types, which have no page.
nitpick_ignore_regex.append((r"py:class", r"nearcache\.[\w.]+\._[A-Z]\w*"))

# Base classes of the backends that are not for projects; the pages show `Backend`, which a project sees.
nitpick_ignore = [
    ("py:class", "nearcache._core.Backend"),
    ("py:class", "nearcache.django.tiered_methods.TieredMethods"),
]

html_theme = "furo"
html_title = f"nearcache {release}"
html_show_sphinx = False


def link_to_repository(app, doctree):
    """Replace the links to files of the repository that are no pages of the site."""
    for node in [*doctree.findall(addnodes.pending_xref), *doctree.findall(addnodes.download_reference)]:
        if node.get("reftype") != "myst" or node["reftarget"] in app.env.found_docs:
            continue
        path = _path(app.env, node)
        is_download = isinstance(node, addnodes.download_reference) and path.is_relative_to(DOCS)
        if path in PAGES:
            node["refdomain"], node["reftarget"] = "doc", PAGES[path]
            node.setdefault("reftargetid", None)
        elif path.exists() and not is_download:
            node.replace_self(_reference(path.relative_to(ROOT).as_posix(), node))


def _path(env, node):
    """Return the path that a link leads to, which may not exist."""
    target = node["reftarget"].partition("#")[0]
    if node.get("refdomain") == "doc":
        return (DOCS / f"{target}.md").resolve()  # MyST made it the name of a page
    path = Path(env.relfn2path(target, node["refdoc"])[1]).resolve()
    # The page may be a file of the root, which a page of the site includes.
    return path if path.exists() or node["refdoc"] not in PAGES.values() else ROOT / target


def _reference(path, link):
    text = link.children or [nodes.literal(path, path)]
    if not REPOSITORY:
        return nodes.inline("", "", *text, classes=["repository"])
    return nodes.reference("", "", *text, refuri=f"{REPOSITORY}/blob/main/{path}")


def tidy_signature(app, what, name, obj, options, signature, returns):  # noqa: PLR0917 (Sphinx's)
    """Leave out what says nothing: the type `Any`, the modules of types, and how Django makes a cache."""
    if what == "class" and name.endswith(("Cache", "Backend")):
        return "", None
    if signature is not None:
        signature = re.sub(r": (~?typing\.)?Any\b", "", signature).replace("Ellipsis", "DEFAULT_TIMEOUT")
        signature = re.sub(r"~?\b(typing|collections\.abc|datetime)\.", "", signature)
        signature = re.sub(r" = ", "=", signature)
    return signature, None if returns in {"Any", "~typing.Any"} else returns


def setup(app):
    """Register the handlers."""
    app.connect("doctree-read", link_to_repository)
    app.connect("autodoc-process-signature", tidy_signature)
