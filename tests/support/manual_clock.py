"""A clock that moves only when a test moves it: what ``OPTIONS["CLOCK"]`` names. See the fixture `clock`."""

PATH = f"{__name__}.read"
START = 1_700_000_000.0


class ManualClock:
    """Unix seconds in ``now``. ``path`` is what to give as ``CLOCK``."""

    path = PATH

    def __init__(self):
        self.now = START

    def advance(self, seconds):
        self.now += seconds

    def time(self):
        """Stand in for the module `time` where Django's caches look for it."""
        return self.now


CLOCK = ManualClock()


def read():
    return CLOCK.now
