"""Every code block of the README and of the site works, and a block that does not is found."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("markdown_it")
pytest.importorskip("yaml")

from page_blocks import ROOT, blocks_of, pages
from support.isolated import start

RUN_PAGE = str(Path(__file__).with_name("run_page.py"))

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SharedCache is for Linux")


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_of_the_page_work(page):
    process, output, errors = start(RUN_PAGE, str(page))
    assert process.returncode == 0, f"{output}{errors}"


GOOD = """```python
# settings.py
CACHES = {"default": {"BACKEND": "nearcache.django.SharedCache", "LOCATION": "/no/such/file"}}
```

```python
from django.core.cache import cache
from nearcache.django import SharedCache

assert isinstance(cache._connections[cache._alias], SharedCache)
cache.set("key", 1)
cache.get("key")  # 1
await cache.aincr("key")  # 2
cache.get("other")  # missing, so None
```

```python
# settings.py
CACHES = {
    "default": {
        "BACKEND": "nearcache.django.TieredCache",
        "LOCATION": "rediss://site:secret@no-such-host:6380/3",
        "OPTIONS": {"NEAR": "shared", "MAX_MEMORY": "1GB", "TLS_CA": "/no/such/file"},
    }
}
```

```python
from django.core.cache import caches

caches["default"].set("key", 1)
caches["default"].get("key", fresh=True)  # 1
```

```console
$ make test && ./manage.py nearcache keys 'user:*' --limit 20 | head
any output
$ python manage.py \\
>   nearcache stats
```

```toml
[table]
key = 1
```

```ini
[Service]
Environment=A=1
Environment=B=%h
```

```dockerfile
# A comment.
FROM python:3.13
RUN pip install \\
    nearcache
```
"""

# Pages, and the errors that they are.
BAD = [
    ("```python\n1 / 0\n```", "ZeroDivisionError"),
    ("```python\n1 +\n```", "md:2: line 1 of the block: invalid syntax"),
    ("```python\n1 + 1  # 3\n```", "md:2: the value is 2, not 3"),
    ("text\n\n```python\nx = 1\n\nx + 1  # 3\n```", "md:6: the value is 2, not 3"),
    ("```python\nimport books\n```", "No module named 'books'"),
    (
        '```python\n# settings.py\nCACHES = {"a": {"BACKEND": "nearcache.django.LocalCache", '
        '"OPTIONS": {"SIZE": 1}}}\n```',
        "unknown name 'SIZE'",
    ),
    (
        '```python\n# settings.py\nCACHES = {"a": {"BACKEND": "nearcache.django.SharedCache", '
        '"OPTIONS": {"MAX_MEMORY": "1KB"}}}\n```',
        "is '1KB'; expected",
    ),
    (
        '```python\n# settings.py\nCACHES = {"a": {"BACKEND": "nearcache.django.TieredCache", '
        '"LOCATION": "http://server"}}\n```',
        'the scheme "http" is unknown',
    ),
    (
        '```python\n# settings.py\nCACHES = {"a": {"BACKEND": "nearcache.django.TieredCache", '
        '"LOCATION": "redis://server", "OPTIONS": {"TLS_FILE": "ca.pem"}}}\n```',
        "TLS_FILE",
    ),
    (
        '```python\n# settings.py\nCACHES = {"a": {"BACKEND": "django.core.cache.none.C"}}\n```',
        "No module named 'django.core.cache.none'",
    ),
    ("```console\nmake test\n```", "md:2: no command"),
    ("```console\n$ make nothing\n```", "no target nothing"),
    ("```console\n$ echo 'a\n```", "bash cannot parse"),
    ("```console\n$ manage.py nearcache keys --all\n```", "unrecognized arguments: --all"),
    ("```toml\nkey\n```", "no valid toml"),
    ("```ini\nkey = 1\n```", "no valid ini"),
    ("```json\n{,}\n```", "no valid json"),
    ("```yaml\na: [\n```", "no valid yaml"),
    ("```dockerfile\nBUILD x\n```", "BUILD is no instruction"),
    ("```rust\nfn main() {}\n```", "the language 'rust'"),
    ("```\nx\n```", "no language"),
    ("text\n\n    x\n", "no language"),
    ("```{code-block} python\nx\n```", "the language '{code-block} python'"),
    ("```{note}\nA note.\n\n~~~python\n1 / 0\n~~~\n```", "ZeroDivisionError"),
    ("- item\n\n  ```python\n  1 / 0\n  ```\n", "ZeroDivisionError"),
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Return what is wrong with `GOOD` and with each of `BAD`. One process runs them all, to save time."""
    folder = tmp_path_factory.mktemp("pages")
    pages = [folder / f"page{number}.md" for number in range(len(BAD) + 1)]
    for page, text in zip(pages, [GOOD, *(text for text, _ in BAD)], strict=True):
        page.write_text(f"{text}\n")
    _, _, errors = start(RUN_PAGE, *map(str, pages))
    printed = {page: [] for page in pages}
    page = None
    for line in errors.splitlines():
        page = Path(line) if Path(line) in printed else page
        printed[page].append(line)
    return ["\n".join(lines) for lines in printed.values()]


class TestHarness:
    """What the other tests rely on: good blocks pass, and each kind of bad one is an error with its line."""

    def test_good_page(self, outcomes):
        assert outcomes[0] == ""

    @pytest.mark.parametrize("number", range(len(BAD)))
    def test_bad_block_is_an_error(self, outcomes, number):
        assert BAD[number][1] in outcomes[number + 1]

    def test_bad_page_fails_the_run(self, tmp_path):
        page = tmp_path / "page.md"
        page.write_text("```python\n1 / 0\n```\n")
        process, _, errors = start(RUN_PAGE, str(page))
        assert process.returncode == 1
        assert f'File "{page}", line 2' in errors

    def test_lines_are_those_of_the_page(self, tmp_path):
        page = tmp_path / "page.md"
        page.write_text("# Title\n\n```{note}\nA note.\n\n~~~json\n{}\n~~~\n```\n\n```text\nx\n```\n")
        assert [(block.language, block.line) for block in blocks_of(page)] == [("json", 7), ("text", 12)]
