"""The management command ``nearcache``."""
