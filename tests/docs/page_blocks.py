"""The code blocks of a page, found by the Markdown parser that Sphinx uses."""

from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SECTIONS = ("tutorial", "how-to", "reference", "explanation")

# MyST directives whose text is Markdown.
ADMONITIONS = {"note", "warning", "tip", "important", "caution", "seealso", "admonition", "dropdown"}
# MyST directives whose text is none, and has no code to run.
OTHER_DIRECTIVES = {"toctree", "include", "eval-rst", "image", "figure", "glossary"}


class BlockError(Exception):
    """A code block is wrong; the message says where and why."""


@dataclass(frozen=True)
class Block:
    """A code block: the language is empty if the page names none."""

    page: Path
    line: int
    language: str
    text: str

    def error(self, reason):
        """Return the error that names this block."""
        return BlockError(f"{self.page}:{self.line}: {reason}")


def pages():
    """Return the pages whose blocks are run: the README and the site, but for the design pages."""
    found = [page for section in SECTIONS for page in (DOCS / section).rglob("*.md")]
    return [ROOT / "README.md", DOCS / "index.md", *sorted(found)]


def blocks_of(page, text=None, first_line=1):
    """Return the blocks of a page in order, those inside of admonitions too."""
    text = page.read_text() if text is None else text
    found = []
    for token in MarkdownIt("commonmark").parse(text):
        if token.type == "code_block":
            found.append(Block(page, first_line + token.map[0], "", token.content))
        elif token.type == "fence":
            found += _of_fence(page, token, first_line + token.map[0] + 1)
    return found


def _of_fence(page, token, line):
    language = token.info.strip()
    if not language.startswith("{"):
        return [Block(page, line, language, token.content)]
    name = language[1:].partition("}")[0]
    if name in ADMONITIONS:
        return blocks_of(page, token.content, line)
    return [] if name in OTHER_DIRECTIVES else [Block(page, line, language, token.content)]
