"""What django-waffle's tests need, whose source package has no settings."""

from packages.environment import caches, database

SECRET_KEY = "tests"
USE_I18N = False
DATABASES = {alias: database(alias) for alias in ("default", "readonly")}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "waffle",
    "test_app",
]
# The source package has the migrations of its own test_app and none of the rest.
MIGRATION_MODULES = {"test_app": None}
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "waffle.middleware.WaffleMiddleware",
]
ROOT_URLCONF = "test_app.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "django.template.context_processors.request",
            ]
        },
    }
]
WAFFLE_CACHE_PREFIX = "test:"
WAFFLE_ENABLE_ADMIN_PAGES = True
CACHES = caches("default")
