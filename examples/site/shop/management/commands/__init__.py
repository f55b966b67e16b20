"""The command `fill`."""
