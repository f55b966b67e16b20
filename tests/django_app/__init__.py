"""`nearcache.django` in a project: settings, checks, management command, metrics, `cache` and `caches`."""
