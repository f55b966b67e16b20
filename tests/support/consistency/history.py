"""The writes that were acknowledged, in memory that all processes share."""

import mmap
from pathlib import Path

WORD = 8
INTERVALS = 256
COUNTERS = ("reads", "near_hits", "missing", "writes", "failed_writes", "errors", "violations")
SLOTS = 32
# Where an acknowledgement's time would be, of a write that failed.
FAILED = -1.0
# The clock of the near tier counts milliseconds.
CLOCK_TICK = 0.002

RUNNING, WRITERS_END, ALL_END = range(3)


class History:
    """The words: the phase, the failovers, the next version of each key, counters, and the acknowledgements.

    Version 1 is the first. `acks[base(key) + version]` is when the write was acknowledged, 0 before that, or
    FAILED. Only the writer of a key changes its words; a word is written at once.
    """

    def __init__(self, path, keys, versions, *, create=False):
        """Map the file, which is created with zeros."""
        self.keys, self.versions = keys, versions
        self.path = Path(path)
        sections = [1 + 2 * INTERVALS, keys, SLOTS * len(COUNTERS), keys * versions]
        if create:
            with self.path.open("xb") as file:
                file.truncate(WORD * sum(sections))
        with self.path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        view = memoryview(self._map)
        parts, start = [], 0
        for size in sections:
            parts.append(view[start : start + WORD * size])
            start += WORD * size
        self._intervals = parts[0].cast("d")
        self._next = parts[1].cast("q")
        self._counters = parts[2].cast("q")
        self.acks = parts[3].cast("d")

    @property
    def phase(self):
        return int(self._intervals[0])

    @phase.setter
    def phase(self, phase):
        self._intervals[0] = float(phase)

    def base(self, key):
        return key * self.versions

    # The writer of a key.

    def take_over(self, key):
        """Mark the writes that a former writer did not end."""
        base = self.base(key)
        for version in range(1, self.next_version(key)):
            if self.acks[base + version] == 0:
                self.acks[base + version] = FAILED

    def next_version(self, key):
        return self._next[key] or 1

    def begin(self, key):
        """Return the version that is about to be written; None if there is no more room."""
        version = self.next_version(key)
        if version + 2 >= self.versions:
            return None
        self._next[key] = version + 1
        return version

    def end(self, key, version, moment):
        """Record when a write was acknowledged, or FAILED."""
        self.acks[self.base(key) + version] = moment

    # Readers.

    def newer(self, key, version, start, max_staleness):
        """Return the newest version that a read had to return instead of this one; None if there is none.

        O(number of writes of the key within `max_staleness`).
        """
        acks, base = self.acks, self.base(key)
        if not 0 < version < self.next_version(key):
            return -1  # nobody wrote that
        if acks[base + version] < 0:
            return None
        limit = start - max_staleness
        newest = self.next_version(key) - 1
        while newest > version and not 0 < acks[base + newest] < limit:
            newest -= 1
        if newest <= version or acks[base + newest] <= self._lost_until(start):
            return None
        return newest

    def _lost_until(self, start):
        """Return up to when acknowledged writes may have been lost, for a read that began at `start`."""
        found = 0.0
        for number in range(INTERVALS):
            began, ended = self._intervals[1 + 2 * number], self._intervals[2 + 2 * number]
            if began == 0 or began > start:
                break
            found = ended or float("inf")
        return found

    # The nemesis.

    def begin_failover(self, moment):
        """Record that the newest writes may get lost from now on; return the number of the failover."""
        number = next(n for n in range(INTERVALS) if self._intervals[1 + 2 * n] == 0)
        self._intervals[1 + 2 * number] = moment
        return number

    def end_failover(self, number, moment):
        """Record that acknowledged writes persist again."""
        self._intervals[2 + 2 * number] = moment

    # Counters.

    def add(self, slot, name, count):
        self._counters[slot * len(COUNTERS) + COUNTERS.index(name)] += count

    def total(self, name):
        return sum(self._counters[COUNTERS.index(name) :: len(COUNTERS)])
