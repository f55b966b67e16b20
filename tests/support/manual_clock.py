"""A clock that tests set, for `OPTIONS["CLOCK"]`. See the fixture `clock`."""

PATH = f"{__name__}.read"
START = 1_700_000_000.0


class ManualClock:
    """Has Unix seconds in `now` and the value for `CLOCK` in `path`."""

    path = PATH

    def __init__(self):
        self.now = START

    def advance(self, seconds):
        self.now += seconds

    def time(self):
        """Replace `time.time` in Django's caches."""
        return self.now


CLOCK = ManualClock()


def read():
    return CLOCK.now
