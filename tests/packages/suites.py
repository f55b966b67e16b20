"""The packages, and which of their tests run."""

from dataclasses import dataclass
from pathlib import Path

from packages.environment import BACKENDS

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Suite:
    """The tests of one package."""

    #: The name of the folder beside this file.
    name: str
    #: The package's name on the index.
    package: str
    #: How many tests must pass for the run to count.
    least: int
    #: What pytest is output, from within the source package.
    arguments: tuple[str, ...]
    #: False if the tests configure Django themselves.
    has_settings: bool = True
    #: Tests of ours, where the package's own do not reach a cache.
    ours: tuple[str, ...] = ()
    backends: tuple[str, ...] = BACKENDS

    def __str__(self) -> str:
        return self.name


SUITES = (
    # The tests of the rate limits; those of sign-ups through other sites need many more packages.
    Suite(
        "allauth",
        "django-allauth",
        24,
        ("tests/apps/core/internal/test_ratelimit.py", "tests/apps/account/test_ratelimit.py"),
    ),
    Suite("axes", "django-axes", 349, ("tests",)),
    Suite(
        "cachalot",
        "django-cachalot",
        175,
        ("cachalot/tests/__init__.py", "cachalot/admin_tests/test_admin.py"),
    ),
    # The other tests do not use the cache.
    Suite(
        "celery_results",
        "django-celery-results",
        9,
        ("t/unit/backends/test_cache.py", "-o", "python_classes=test_*"),
    ),
    Suite("constance", "django-constance", 28, ("tests/backends/test_database.py",)),
    # And what its serializers return, which has classes of its own.
    Suite(
        "drf",
        "djangorestframework",
        31,
        ("tests/test_throttling.py", "--no-migrations"),
        has_settings=False,
        ours=("returned.py",),
    ),
    # The source packages have no tests; those that they had up to 3.10 replaced the cache by a mock.
    Suite("health_check", "django-health-check", 4, (), ours=("cache_check.py",)),
    # The tests of its caches are not in the source package.
    Suite("prometheus", "django-prometheus", 14, ("django_prometheus/tests",), ours=("exported.py",)),
    # The others test its clients, serializers and data types. Its conftest.py takes pytest-xdist.
    Suite(
        "django_redis",
        "django-redis",
        90,
        (
            "tests/test_backend.py",
            "tests/test_cache_options.py",
            "tests/test_session.py",
            "--noconftest",
            "-p",
            "nearcache_fixtures",
        ),
        backends=("TieredCache/None", "TieredCache/local", "LocalCache"),
    ),
    Suite("ratelimit", "django-ratelimit", 47, ("django_ratelimit/tests.py",)),
    Suite("sorl", "sorl-thumbnail", 130, ("tests/thumbnail_tests",)),
    # Three of the modules need views and templates that are not in the source package. The tests of the
    # middleware fail with any Django since 4.0.
    Suite(
        "waffle",
        "django-waffle",
        150,
        (
            "waffle/tests",
            *(
                f"--ignore=waffle/tests/test_{x}.py"
                for x in ("decorators", "middleware", "mixin", "templates")
            ),
        ),
    ),
)
