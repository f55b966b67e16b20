"""The package as released, the recipes of the documentation, and the tools that projects use beside it."""
