"""Where `make test-tools` installs the tools that look into a project's caches."""

import sys
from pathlib import Path

# In the environment that runs the tests, since the tools are built for its Python.
TOOLS = Path(sys.prefix) / "tools"
