"""The management command ``nearcache`` and its parts."""
