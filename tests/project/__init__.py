"""The package as installed, and tracing tools that projects use with it."""
