"""Shows progress on standard error: one updated line on a terminal, otherwise one line for each stage."""

import sys

ERASE_LINE = "\r\x1b[K"


class Progress:
    """Writes progress messages to a stream, standard error by default."""

    def __init__(self, stream=sys.stderr):
        self._stream = stream
        self._is_terminal = stream.isatty()

    def stage(self, text):
        """Shows that a stage begins."""
        self._write(f"{ERASE_LINE}{text}" if self._is_terminal else f"{text}\n")

    def update(self, text):
        """Updates the text of the stage, on a terminal only."""
        if self._is_terminal:
            self.stage(text)

    def clear(self):
        """Erases the line, so that other output can follow."""
        if self._is_terminal:
            self._write(ERASE_LINE)

    def _write(self, text):
        self._stream.write(text)
        self._stream.flush()
