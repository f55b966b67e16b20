"""Runs the blocks of pages, in a process of their own: ``python run_page.py docs/how-to/locks.md``.

- A ``python`` block runs in the namespace of the page. Django has the caches ``default`` and ``local``
  (LocalCache) and ``shared`` (SharedCache), and a database in memory. ``await`` may stand at the top. If an
  expression has a literal as its comment, as in ``cache.ttl("key")  # 60``, that must be its value.
- A ``python`` block that begins with ``# settings.py`` is settings. Every cache of ours in them must open,
  work, and pass the system checks; the blocks after it use these caches. Files lie in a temporary directory.
  A TieredCache uses a server that is started for the run; without one installed it is opened, but not used,
  and the Python after it is skipped.
- A block that imports a package of `OPTIONAL` is skipped where that is not installed, and so is the Python
  after it, which may need its names.
- `page_checks` has the other languages.
"""

import ast
import asyncio
import contextlib
import copy
import inspect
import io
import sys
import tempfile
import tokenize
import traceback
import types
from importlib.util import find_spec
from pathlib import Path

import django
from django.conf import settings
from django.core.cache import caches
from django.core.checks import Tags, run_checks
from django.test import override_settings
from django.utils.module_loading import import_string

from nearcache.django.tiered import TieredCache
from page_blocks import ROOT, BlockError, blocks_of
from page_checks import CHECKS
from page_server import PageServer

OPTIONAL = {
    *("allauth", "axes", "cachalot", "constance", "debug_toolbar", "diskcache", "django_cache_url"),
    *("django_prometheus", "django_ratelimit", "django_redis", "environ", "environs", "freezegun"),
    *("prometheus_client", "redis", "rest_framework", "time_machine", "wagtail"),
}
OURS = "nearcache.django."
LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
# The files of the settings on the pages need not be as large as on a server.
SHARED_MEMORY_LIMIT = 2 * 1024**2


def main(pages):
    """Run each page; write what is wrong with one to stderr, below its path. Return whether all are right."""
    faults = 0
    with tempfile.TemporaryDirectory() as folder, PageServer() as server:
        given = configure(Path(folder))
        for number, page in enumerate(pages):
            run = PageRun(Path(folder, str(number)), given, server)
            try:
                for block in blocks_of(Path(page)):
                    run.check(block)
            except BlockError as error:
                print(f"{page}\n{error}", file=sys.stderr)
                faults += 1
            except Exception:
                print(f"{page}\n{traceback.format_exc()}", file=sys.stderr)
                faults += 1
    return faults == 0


class PageRun:
    """The state that the blocks of a page leave to the next."""

    def __init__(self, folder, caches, server):
        folder.mkdir()
        self.server = server
        self.folder = folder
        # A module, so that classes and functions of the page are found by their names.
        module = sys.modules["page"] = types.ModuleType("page")
        self.namespace = vars(module)
        self.caches = caches
        self.number = 0
        self.is_skipping = False

    def check(self, block):
        """Run a block, or check what is to be checked. Raises `BlockError`, or what the code raises."""
        if block.language == "python":
            self.check_python(block)
        elif block.language in CHECKS:
            CHECKS[block.language](block)
        else:
            wrong = f"the language {block.language!r}" if block.language else "no language"
            raise block.error(f"the block has {wrong}; accepted are python, {', '.join(CHECKS)}")

    def check_python(self, block):
        missing = missing_packages(block)
        if missing:
            print(f"{block.page}:{block.line}: skipped: {', '.join(missing)} not installed")
            self.is_skipping |= not is_settings(block)
        elif is_settings(block):
            self.read_settings(block)
        elif not self.is_skipping:
            self.run_python(block)

    def run_python(self, block):
        with override_settings(CACHES=self.caches):
            for statement, expected in statements(block):
                value = evaluate(block, statement, self.namespace)
                if expected is not None and value != expected:
                    line = block.line + statement.lineno - 1
                    raise BlockError(f"{block.page}:{line}: the value is {value!r}, not {expected!r}")

    def read_settings(self, block):
        """Run settings, and open the caches they describe as Django does."""
        namespace = {"BASE_DIR": self.folder, "INSTALLED_APPS": [], "MIDDLEWARE": []}
        for statement, _ in statements(block):
            evaluate(block, statement, namespace)
        found = namespace.get("CACHES", {})
        remotes = {params.get("OPTIONS", {}).get("REMOTE") for params in found.values()}
        for alias, params in found.items():
            if alias in remotes:
                import_string(params["BACKEND"])
                # Its server may not be installed.
                self.caches = {**self.caches, alias: {**params, "BACKEND": LOCMEM}}
            elif params["BACKEND"].startswith(OURS):
                self.caches = {**self.caches, alias: self.elsewhere(params)}
            elif params["BACKEND"].partition(".")[0] not in OPTIONAL or installed(params["BACKEND"]):
                import_string(params["BACKEND"])
        with override_settings(CACHES=self.caches):
            for alias in namespace.get("CACHES", {}):
                if alias in self.caches and self.has_server(block, alias):
                    use(block, alias)
            errors = [
                error for error in run_checks(tags=[Tags.caches]) if str(error.id).startswith("nearcache.E")
            ]
            if errors:
                raise block.error(f"system checks: {errors}")

    def has_server(self, block, alias):
        """Return whether a cache can be used: a TieredCache needs a server."""
        if not isinstance(caches[alias], TieredCache) or self.server.is_installed:
            return True
        print(f"{block.page}:{block.line}: skipped: no Redis or Valkey server is installed")
        self.is_skipping = True
        return False

    def elsewhere(self, params):
        """Return the same parameters of a cache, with its file in the temporary directory, and small."""
        params = copy.deepcopy(params)
        backend = import_string(params["BACKEND"])
        if "REMOTE" in params.get("OPTIONS", {}):
            return params
        if backend is TieredCache:
            self.number += 1
            return self.server.elsewhere(params, self.folder / f"near-{self.number}")
        if not hasattr(backend, "verify"):
            return params
        location = str(params.get("LOCATION", ""))
        backend_options(location if not location.startswith("/") else "name", params)
        if location.startswith("/"):
            self.number += 1
            params["LOCATION"] = str(self.folder / f"{Path(location).name}-{self.number}")
        options = params.setdefault("OPTIONS", {})
        if "MAX_PROCESSES" not in options:
            options["MAX_MEMORY"] = SHARED_MEMORY_LIMIT
        return params


def configure(folder):
    """Configure Django, as `conftest` does for the other tests; return the caches."""
    shared = {"BACKEND": "nearcache.django.SharedCache", "LOCATION": str(folder / "shared")}
    found = {
        "default": {"BACKEND": "nearcache.django.LocalCache"},
        "local": {"BACKEND": "nearcache.django.LocalCache", "LOCATION": "local"},
        "shared": {**shared, "OPTIONS": {"MAX_MEMORY": SHARED_MEMORY_LIMIT}},
    }
    settings.configure(
        SECRET_KEY="tests",
        USE_TZ=True,
        ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "django.contrib.sessions",
            "nearcache.django",
        ],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        CACHES=found,
    )
    django.setup()
    from nearcache.django import location  # noqa: PLC0415 (after the settings)

    location.SHARED_MEMORY = folder
    return found


def backend_options(location, params):
    """Check the options as they stand on the page. Raises `ImproperlyConfigured`."""
    from nearcache.django.options import SharedOptions  # noqa: PLC0415 (after the settings)

    SharedOptions.parse(location, params)


def use(block, alias):
    cache = caches[alias]
    cache.set("key", ["value"], 60)
    if cache.get("key") != ["value"]:
        raise block.error(f"CACHES[{alias!r}] does not keep a value")
    cache.delete("key")


def is_settings(block):
    return block.text.startswith("# settings.py")


def missing_packages(block):
    """Return the packages that a block imports and that may be missing here, and are."""
    names = set()
    for node in ast.walk(parse(block)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return sorted(name for name in names & OPTIONAL if not installed(name))


def installed(name):
    return find_spec(name.partition(".")[0]) is not None


def parse(block):
    try:
        return ast.parse(block.text)
    except SyntaxError as error:
        raise block.error(f"line {error.lineno} of the block: {error.msg}") from error


def statements(block):
    """Return each statement, with the value that its comment tells, or None."""
    comments = {}
    for token in tokenize.generate_tokens(io.StringIO(block.text).readline):
        if token.type == tokenize.COMMENT:
            comments[token.start[0]] = token.string.removeprefix("#").strip()
    found = []
    for statement in parse(block).body:
        expected = None
        if isinstance(statement, ast.Expr) and statement.end_lineno in comments:
            with contextlib.suppress(ValueError, SyntaxError):
                expected = ast.literal_eval(comments[statement.end_lineno])
        found.append((statement, None if expected is ... else expected))
    return found


def evaluate(block, statement, namespace):
    """Run a statement; return its value if it is an expression. Tracebacks show the line of the page."""
    tree = copy.deepcopy(statement)
    ast.increment_lineno(tree, block.line - 1)
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    if isinstance(tree, ast.Expr):
        code = compile(ast.Expression(tree.value), str(block.page), "eval", flags=flags, dont_inherit=True)
    else:
        code = compile(ast.Module([tree], []), str(block.page), "exec", flags=flags, dont_inherit=True)
    result = eval(code, namespace)  # for code that awaits, a coroutine
    return asyncio.run(result) if code.co_flags & inspect.CO_COROUTINE else result


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    sys.exit(not main(sys.argv[1:]))
