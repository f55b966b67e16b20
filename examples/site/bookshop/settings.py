"""Settings of the bookshop. The environment variable DEMO_CACHE chooses the cache backend.

All other settings are the same for all backends, and each backend runs with its defaults.
"""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = BASE_DIR.parent.parent / "build" / "demo"
DATA_DIR.mkdir(parents=True, exist_ok=True)

# --- caching -----------------------------------------------------------------------------------------------

BACKENDS = {
    "none": "django.core.cache.backends.dummy.DummyCache",
    "locmem": "django.core.cache.backends.locmem.LocMemCache",
    "nearcache": "nearcache.django.LocalCache",
    "shared": "nearcache.django.SharedCache",
    "redis": "django.core.cache.backends.redis.RedisCache",
    "tiered": "nearcache.django.TieredCache",
    "tiered-shared": "nearcache.django.TieredCache",
}
DEMO_CACHE = os.environ.get("DEMO_CACHE", "nearcache")
if DEMO_CACHE not in BACKENDS:
    raise SystemExit(f"DEMO_CACHE is {DEMO_CACHE!r}; expected one of: {', '.join(BACKENDS)}")

CACHES = {"default": {"BACKEND": BACKENDS[DEMO_CACHE]}}
# The URL of the Redis or Valkey server, or the path of the file of a SharedCache.
REMOTE = DEMO_CACHE in {"redis", "tiered", "tiered-shared"}
LOCATION = os.environ.get("DEMO_CACHE_LOCATION", "redis://127.0.0.1:6379" if REMOTE else "")
if LOCATION:
    CACHES["default"]["LOCATION"] = LOCATION
if DEMO_CACHE == "tiered-shared":
    CACHES["default"]["OPTIONS"] = {"NEAR": "shared"}
    # The two machines of the demo are one, so the files with the near copies need names of their own.
    if path := os.environ.get("DEMO_NEAR_LOCATION"):
        CACHES["default"]["OPTIONS"]["NEAR_LOCATION"] = path

# DummyCache cannot store sessions, so without a cache they are in the database, which is Django's default.
SESSION_ENGINE = f"django.contrib.sessions.backends.{'db' if DEMO_CACHE == 'none' else 'cache'}"

# The check warns of sessions in a LocalCache, which other processes cannot see. The demo does this on
# purpose, to count the lost sessions.
SILENCED_SYSTEM_CHECKS = ["nearcache.W001"]

# --- the site ----------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "measure",  # first, so that it is ready before another app opens a cache or a database connection
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    *(["nearcache.django"] if DEMO_CACHE not in {"none", "locmem", "redis"} else []),
    "shop",
]

MIDDLEWARE = [
    "measure.middleware.MeasureMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA_DIR / "bookshop.sqlite3",
        "CONN_MAX_AGE": None,
        # With WAL, readers and the writer do not block each other. A second writer waits instead of failing.
        "OPTIONS": {
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
        },
    }
}

ROOT_URLCONF = "bookshop.urls"
WSGI_APPLICATION = "bookshop.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "/static/"
TIME_ZONE = "UTC"
USE_TZ = True

# These settings are for a demo that listens on this machine only. Do not use them on a public site.
DEBUG = False
SECRET_KEY = "a demonstration has no secrets to keep, but Django wants a long enough key"
ALLOWED_HOSTS = ["127.0.0.1", "127.0.0.2", "localhost"]
