"""The installed package: imports, versions, types and documentation."""

import importlib.metadata
import importlib.resources
import inspect
import subprocess
import sys
import sysconfig
import textwrap

import pytest

import nearcache
import nearcache.django
from nearcache import _core
from nearcache.django import LocalCache
from support.isolated import run


def python(program):
    """Run a program in a new Python; return what it printed."""
    return run("-c", textwrap.dedent(program)).strip()


class TestImport:
    def test_package_needs_no_django(self):
        assert (
            python("""
            import sys
            import nearcache
            print(nearcache.__version__, "django" in sys.modules)
        """)
            == f"{nearcache.__version__} False"
        )

    def test_backend_needs_no_settings(self):
        assert (
            python("""
            from django.conf import settings
            from nearcache.django import LocalCache
            cache = LocalCache("", {})
            cache.set("key", [1, {"two": 2.0}])
            print(cache.get("key"), settings.configured)
        """)
            == "[1, {'two': 2.0}] False"
        )

    def test_backend_loads_no_models_nor_checks(self):
        assert (
            python("""
            import sys
            import nearcache.django
            unwanted = {"django.db", "django.core.checks", "nearcache.django.checks"}
            print(sorted(unwanted & set(sys.modules)))
        """)
            == "[]"
        )

    def test_second_import_has_the_same_stores(self):
        assert (
            python("""
            import importlib, sys
            from nearcache.django import LocalCache
            LocalCache("name", {}).set("key", "value")
            for name in [name for name in sys.modules if name.startswith("nearcache")]:
                if not name.endswith("_core"):
                    del sys.modules[name]
            again = importlib.import_module("nearcache.django").LocalCache
            print(again is LocalCache, again("name", {}).get("key"))
        """)
            == "False value"
        )

    def test_works_with_python_s_optimizer(self):
        program = (
            "from nearcache.django import LocalCache as C; c = C('', {}); c.set(1, [2]); print(c.get(1))"
        )
        process = subprocess.run(
            [sys.executable, "-OO", "-W", "error", "-c", program],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (process.returncode, process.stdout, process.stderr) == (0, "[2]\n", "")

    @pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has the GIL")
    def test_does_not_enable_the_gil(self):
        assert (
            python("""
            import sys
            import nearcache.django
            print(sys._is_gil_enabled())
        """)
            == "False"
        )


class TestDistribution:
    def test_versions_agree(self):
        version = importlib.metadata.version("nearcache")
        assert nearcache.__version__ == _core.__version__ == version
        assert version[0].isdigit()

    def test_has_type_information(self):
        files = importlib.resources.files("nearcache")
        assert files.joinpath("py.typed").is_file()
        assert "class Backend" in files.joinpath("_core.pyi").read_text()

    def test_requires_django_and_what_django_requires(self):
        requirements = [
            requirement.lower()
            for requirement in importlib.metadata.requires("nearcache")
            if "extra ==" not in requirement
        ]
        assert sorted(requirements) == ["asgiref>=3.9.1", "django>=5.2"]

    @pytest.mark.parametrize("module", [nearcache, nearcache.django])
    def test_public_names_exist(self, module):
        assert module.__all__
        for name in module.__all__:
            assert getattr(module, name)

    @pytest.mark.parametrize("owner", [nearcache, nearcache.django, LocalCache, _core.Backend, _core.Stats])
    def test_every_public_name_is_documented(self, owner):
        assert inspect.getdoc(owner)
        members = [
            member
            for name, member in vars(owner).items()
            if not name.startswith("_") and callable(member) and not inspect.ismodule(member)
        ]
        assert all(inspect.getdoc(member) for member in members)
