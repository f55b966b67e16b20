"""Management commands: `nearcache`."""
