"""The garbage collector, signals, tracers and imports, whose code interrupts a call and uses the cache."""

import gc
import itertools
import signal
import sys
import sysconfig
import threading
import time
import types
import uuid
from datetime import datetime, timezone
from decimal import Decimal
from fractions import Fraction

import pytest
from django.utils.safestring import SafeString

from support.isolated import isolated
from support.reentrancy import Hooked, Recorder, new_cache, use


class Cyclic:
    """Garbage that only the collector finds, and that uses the cache when found."""

    def __init__(self, recorder):
        self.recorder, self.itself = recorder, self

    def __del__(self):
        self.recorder()


FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


class TestGarbageCollector:
    @isolated
    def test_finalizers_use_the_cache(self):
        cache, other = new_cache(MAX_ENTRIES=20), new_cache(MAX_ENTRIES=20)
        recorder = Recorder(other, "another")
        gc.set_threshold(1)
        tree = {"list": [[[]], [{}], {"set": {1, 2}}], "tuple": ([], [[]])}
        for number in itertools.takewhile(lambda _: recorder.calls < 200, itertools.count()):
            Cyclic(recorder)
            cache.set(f"tree{number % 30}", tree)
            assert cache.get(f"tree{number % 30}") in (tree, None)
            cache.set("pickled", {"hooked": [Hooked(number)]})
            cache.get("pickled")
            cache.get_many([f"tree{number}" for number in range(30)])
        use(cache)

    @isolated
    def test_callbacks_of_the_collector_use_the_cache(self):
        cache = new_cache(MAX_ENTRIES=20)
        recorder = Recorder(cache, "another")
        gc.callbacks.append(recorder)
        gc.set_threshold(1)
        for number in itertools.takewhile(lambda _: recorder.calls < 200, itertools.count()):
            cache.set(f"tree{number % 30}", [[[], []], {"key": []}])
            cache.get(f"tree{number % 30}")
            if FREE_THREADED:
                gc.collect()  # which has no threshold so low
        gc.callbacks.remove(recorder)
        use(cache)

    @isolated
    def test_stored_trees_are_consistent_while_finalizers_change_them(self):
        cache = new_cache()
        gc.set_threshold(1)
        changes = 0

        def change():
            nonlocal changes
            changes += 1
            value.clear()
            value.extend([[changes, [changes]] for _ in range(changes % 20)])

        def members(tree):
            return all(len(member) == 2 and member[1] == [member[0]] for member in tree)

        value = []
        while changes < 500:
            Cyclic(change)
            cache.set("key", value)
            assert members(cache.get("key"))


class TestInterruptions:
    SECONDS = 0.5

    @isolated
    def test_signal_handlers_use_the_cache(self):
        cache = new_cache(MAX_ENTRIES=50)
        cache.set("counter", 0)
        signals = rounds = 0

        def handle(*_):
            nonlocal signals
            signals += 1
            cache.set(f"signal{signals % 60}", Hooked(signals))
            cache.incr("counter")
            cache.get_many(["key", "signal1"])

        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        end = time.monotonic() + self.SECONDS
        while time.monotonic() < end or signals < 20:
            rounds += 1
            cache.set(f"key{rounds % 60}", [Hooked(rounds)])
            cache.get(f"key{rounds % 60}")
            cache.incr("counter")
            cache.get("counter")
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert signals >= 20
        assert rounds > 0
        assert cache.get("counter") == signals + rounds

    @isolated
    def test_exception_of_a_signal_handler_is_raised_by_the_call(self):
        cache = new_cache()
        cache.set("key", "before")

        def interrupt(*_):
            raise KeyboardInterrupt

        signal.signal(signal.SIGALRM, interrupt)
        Hooked.on_pickle = lambda: signal.raise_signal(signal.SIGALRM)
        with pytest.raises(KeyboardInterrupt):
            cache.set("key", Hooked(7))
        assert cache.get("key") == "before"
        use(cache)

    @pytest.mark.parametrize("kind", ["setprofile", "settrace"])
    @isolated
    def test_profilers_and_tracers_use_the_cache(self, kind):
        cache = new_cache(MAX_ENTRIES=20)
        recorder = Recorder(cache, "another")

        def observe(frame, event, argument):
            recorder()
            return observe

        def work():
            for number in range(50):
                use(cache, f"key{number}")
                cache.set("key", Hooked(number))
                cache.get("key")

        def observed():
            getattr(sys, kind)(observe)
            try:
                work()
            finally:
                getattr(sys, kind)(None)

        threads = [threading.Thread(target=observed) for _ in range(3)]
        for thread in threads:
            thread.start()
        observed()
        for thread in threads:
            thread.join()
        assert recorder.calls > 100
        use(cache)


class SlowModule(types.ModuleType):
    """The module `uuid`, with an attribute that calls a function when it is looked up."""

    on_look = None

    @property
    def UUID(self):  # noqa: N802
        function, SlowModule.on_look = SlowModule.on_look, None
        if function:
            function()
        return uuid.UUID


class TestFirstCall:
    """What is imported by the first call for a value that is no plain one may run anything."""

    VALUES = {  # noqa: RUF012
        "uuid": uuid.uuid4,
        "list": lambda: [uuid.uuid4(), Decimal(1)],
        "safe string": lambda: SafeString("safe"),
        "zone": lambda: datetime(2030, 1, 1, tzinfo=timezone.utc),
        "pickled": lambda: {1: Fraction(1, 2)},
    }

    @pytest.mark.parametrize("kind", VALUES)
    @isolated
    def test_imports_use_the_cache(self, kind):
        cache = new_cache()

        def use_for_the_first_time():
            cache.set("another", self.VALUES["list"]())
            use(cache, "another")

        # If it is not looked up any more, that was when all was imported.
        SlowModule.on_look = use_for_the_first_time
        sys.modules["uuid"] = SlowModule("uuid")
        value = self.VALUES[kind]()
        cache.set("key", value)
        assert cache.get("key") == value
        use(cache)
