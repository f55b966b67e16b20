"""`Output`: writes the results of the actions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from django.core.management.base import OutputWrapper

from nearcache.django.management.formatting import aligned


class Output:
    """Writes text, tables and JSON to standard output, and notes to standard error."""

    def __init__(
        self, stdout: OutputWrapper, stderr: OutputWrapper, note_style: Callable[[str], str]
    ) -> None:
        """Creates an output for the streams of a command."""
        self._stdout = stdout
        self._stderr = stderr
        self._note_style = note_style

    @property
    def is_terminal(self) -> bool:
        """Returns whether standard output is a terminal."""
        return self._stdout.isatty()

    def line(self, text: str) -> None:
        """Writes a line of text."""
        self._stdout.write(text)

    def table(self, rows: Iterable[list[str]], *, right: bool = True) -> None:
        """Writes a table; see `aligned`."""
        for line in aligned(list(rows), right=right):
            self._stdout.write(line)

    def json(self, value: object) -> None:
        """Writes a value as indented JSON."""
        self._stdout.write(json.dumps(value, indent=2))

    def note(self, text: str) -> None:
        """Writes a note to standard error."""
        self._stderr.write(f"Note: {text}", self._note_style)

    def flush(self) -> None:
        """Flushes standard output."""
        self._stdout.flush()
