"""Says on standard error what is going on: one line that changes on a terminal, a line a stage elsewhere."""

import sys

ERASE_LINE = "\r\x1b[K"


class Progress:
    """The display. Standard output stays free for the result."""

    def __init__(self, stream=sys.stderr):
        self._stream = stream
        self._is_terminal = stream.isatty()

    def stage(self, text):
        """Something new begins."""
        self._write(f"{ERASE_LINE}{text}" if self._is_terminal else f"{text}\n")

    def update(self, text):
        """It goes on."""
        if self._is_terminal:
            self.stage(text)

    def clear(self):
        """Leave the line to others."""
        if self._is_terminal:
            self._write(ERASE_LINE)

    def _write(self, text):
        self._stream.write(text)
        self._stream.flush()
