"""Subinterpreters, which mod_wsgi has for each site, cannot import nearcache."""

import sys
import textwrap

import pytest

from support.isolated import isolated

# Prints nothing but what went wrong: `isolated` takes anything on stderr for a failure.
IMPORT = textwrap.dedent(
    """
    try:
        import nearcache._core
    except ImportError as error:
        output = str(error)
    else:
        output = "it was imported"
    if "subinterpreter" not in output:
        raise SystemExit(output)
    """
)


def run_in_subinterpreters(program, count):
    """Run a program in so many interpreters that share the GIL, one after the other."""
    testcapi = pytest.importorskip("_testcapi", reason="this Python was built without its test modules")
    return [testcapi.run_in_subinterp(program) for _ in range(count)]


class TestSubinterpreters:
    @isolated
    def test_import_is_refused_if_the_main_interpreter_has_not_imported_it(self):
        assert run_in_subinterpreters(IMPORT, 2) == [0, 0]
        # And is possible in the main one still.
        from nearcache.django import LocalCache  # noqa: PLC0415

        cache = LocalCache("main", {})
        cache.set("key", [1])
        assert cache.get("key") == [1]

    @isolated
    def test_import_is_refused_if_the_main_interpreter_has_imported_it(self):
        from nearcache.django import LocalCache  # noqa: PLC0415

        cache = LocalCache("main", {})
        cache.set("key", [1])
        assert run_in_subinterpreters(IMPORT, 2) == [0, 0]
        assert cache.get("key") == [1]

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="every interpreter shares the GIL before 3.12")
    @isolated
    def test_import_is_refused_with_a_gil_of_its_own(self):
        name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
        interpreters = pytest.importorskip(name)
        interpreter = interpreters.create()
        failure = interpreters.run_string(interpreter, IMPORT)
        interpreters.destroy(interpreter)
        assert failure is None
