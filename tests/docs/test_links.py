"""The relative links of the documents lead to files that exist. (The site's build checks anchors.)"""

import re
import subprocess
from urllib.parse import unquote

import pytest

pytest.importorskip("markdown_it")

from markdown_it import MarkdownIt

from page_blocks import DOCS, ROOT

DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted(DOCS.rglob("*.md")),
]
SOURCE_FILE = re.compile(r"`([\w./-]+\.(?:rs|py|sh))`")
WITH_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def broken_links(document):
    """Return the relative links of a document that lead nowhere."""
    targets = [
        str(child.attrGet("href") or child.attrGet("src"))
        for token in MarkdownIt("commonmark").enable("table").parse(document.read_text())
        for child in token.children or ()
        if child.type in {"link_open", "image"}
    ]
    paths = {unquote(target.partition("#")[0]) for target in targets if not WITH_SCHEME.match(target)}
    return sorted(path for path in paths if path and not (document.parent / path).exists())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(document):
    assert broken_links(document) == []


def test_broken_link_is_found(tmp_path):
    (tmp_path / "there.md").touch()
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md#x) [b](https://example.com) [c](#x) [d](gone.md)\n\n| x |\n|---|\n| ![e](gone.svg) |\n"
    )
    assert broken_links(page) == ["gone.md", "gone.svg"]


def test_named_source_files_exist():
    """A file that a document names in code, such as `slot.rs` or `shared/slot.rs`, is in the repository."""
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    if not tracked:
        pytest.skip("this is not a checkout of git")
    ends = {
        "/".join(parts[start:])
        for parts in (line.split("/") for line in tracked.splitlines())
        for start in range(len(parts))
    }
    pages = [ROOT / "CONTRIBUTING.md", *(DOCS / "design").glob("*.md")]
    missing = {
        (page.name, name)
        for page in pages
        for name in SOURCE_FILE.findall(page.read_text())
        if name.removeprefix("./") not in ends
    }
    assert missing == set()
