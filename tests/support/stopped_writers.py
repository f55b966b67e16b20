"""Writes into a cache file what a process leaves that is stopped within a write."""

import mmap
import struct

WORD = 8
# Words of the file: see docs/design/shared.md.
HEADER = 512
PROCESSES = 3
PROCESS_SLOT = 64
# Added to a record's first word when a write begins and when it ends.
ONE_WRITE = 1 << 40
RECORD_LEAD = 32


class File:
    """The words of a cache file of one shard."""

    def __init__(self, path):
        with path.open("r+b") as file:
            self.map = mmap.mmap(file.fileno(), 0)

    def word(self, at):
        return struct.unpack_from("=Q", self.map, at * WORD)[0]

    def put(self, at, value):
        struct.pack_into("=Q", self.map, at * WORD, value)

    @property
    def lock(self):
        return HEADER + self.word(PROCESSES) * PROCESS_SLOT

    def owner(self, pid):
        """Return the lock word of a process."""
        for slot in range(self.word(PROCESSES)):
            start = HEADER + slot * PROCESS_SLOT
            if self.word(start + 1) == pid:
                return (self.word(start) << 16) | ((slot + 1) << 1)
        raise AssertionError(f"{pid} has no slot")

    def begin_write(self, key):
        """Mark an entry as the first store of an in-place write does."""
        at = self.map.find(f":1:{key}".encode())
        assert at > 0
        first = (at - RECORD_LEAD) // WORD
        self.put(first, self.word(first) + ONE_WRITE)
