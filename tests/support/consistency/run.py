"""One run: the processes, the faults, and what was found."""

import time
from dataclasses import dataclass

from support.consistency.history import ALL_END, COUNTERS, WRITERS_END, History
from support.consistency.workers import Workers

KEYS = 64
WRITERS = 2
LOCAL_READERS = 2
SHARED_READERS = 2
MAX_STALENESS = 0.3
# Of a request: shorter than some faults last.
SOCKET_TIMEOUT = 0.5
# Between two writes of a process.
INTERVAL = 0.01
END_SECONDS = 60


@dataclass
class Report:
    """What a run did and found."""

    seconds: float
    faults: dict
    counts: dict
    violations: list
    failures: list

    def __str__(self):
        counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in self.counts.items())
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        return f"{self.seconds:.0f} s: {counts}; {sum(self.faults.values())} faults: {faults}"


def run(folder, url, make_nemesis, seconds, *, broken_guard=None, until_violation=False):
    """Let the processes and the nemesis run; return the `Report`.

    `make_nemesis` is called with the history, the workers and MAX_STALENESS.
    """
    versions = int(seconds / INTERVAL) + 1000
    history = History(folder / "history", KEYS, versions, create=True)
    log = folder / "violations"
    log.touch()

    def settings(slot, role, near):
        options = {"NEAR": near, "MAX_STALENESS": MAX_STALENESS, "SOCKET_TIMEOUT": SOCKET_TIMEOUT}
        if near == "shared":
            options |= {"NEAR_LOCATION": str(folder / "near"), "MAX_MEMORY": "8MB"}
        return {
            "slot": slot,
            "role": role,
            "url": url,
            "options": options,
            "history": str(history.path),
            "log": str(log),
            "keys": KEYS,
            "versions": versions,
            "writers": WRITERS,
            "interval": INTERVAL,
            "max_staleness": MAX_STALENESS,
            "broken_guard": broken_guard,
            "compares": broken_guard is None,
        }

    # One writer shares its near tier with readers, so that its own writes invalidate theirs.
    roles = [("writer", "local"), ("writer", "shared")]
    roles += [("reader", "local")] * LOCAL_READERS + [("reader", "shared")] * SHARED_READERS
    start = time.monotonic()
    with Workers(folder, [settings(slot, *role) for slot, role in enumerate(roles)]) as workers:
        nemesis = make_nemesis(history, workers, MAX_STALENESS)

        def goes_on():
            is_found = until_violation and history.total("violations")
            return time.monotonic() - start < seconds and not is_found and not workers.failures()

        nemesis.run(goes_on)
        if broken_guard is None:
            history.phase = WRITERS_END
            workers.wait(["writer"], END_SECONDS)
            # Pushes that are on their way arrive, or the gate shuts.
            time.sleep(2 * MAX_STALENESS)
            history.phase = ALL_END
            workers.wait(["reader"], END_SECONDS)
        failures = workers.failures()
    return Report(
        seconds=time.monotonic() - start,
        faults=dict(nemesis.injected),
        counts={name: history.total(name) for name in COUNTERS},
        violations=log.read_text().splitlines(),
        failures=failures,
    )
