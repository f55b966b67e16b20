"""What a release takes: `make wheels` and `make release-check`."""
