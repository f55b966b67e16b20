"""The programs for a release: `make wheels` and `make release-check`."""
