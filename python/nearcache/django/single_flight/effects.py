"""What a `flow` asks for, carried out by threads, greenlets and tasks.

``act`` is for threads: it may block, without the GIL. ``aact`` is for tasks: it never blocks the event loop.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from secrets import token_hex
from typing import TYPE_CHECKING, Any, cast

from nearcache import _core
from nearcache.django.greenlets import green_wait
from nearcache.django.single_flight import background
from nearcache.django.single_flight.call import CURRENT, Call, Step, begin

if TYPE_CHECKING:
    from typing import Protocol

    class Effect(Protocol):
        """Something that may wait."""

        def act(self, call: Any) -> Any:
            """Carries it out in a thread."""

        async def aact(self, call: Any) -> Any:
            """Carries it out in a task."""

else:
    Effect = object

# Seconds after which a blocked thread looks for signals.
_SIGNALS = 0.2
# Seconds between two looks of a greenlet, and of a waiter whose leader is in another process: from the first
# on, twice as long each time.
_FIRST_LOOK, _LAST_LOOK = 0.0005, 0.01
# Seconds after which a task looks that is woken by another waiter: its event loop may be blocked.
_CHECK = 1.0


class Join:
    """Finds out what to do about a key that was missed; the result is a step."""

    def act(self, call: Call) -> Step:
        """See `Effect`."""
        step: Step = call.cache._join(call.key, call.version, call.options.stale, CURRENT.get())
        return step

    async def aact(self, call: Call) -> Step:
        """See `Effect`."""
        step: Step = await call.cache._ajoin(call.key, call.version, call.options.stale, CURRENT.get())
        return step


@dataclass(slots=True, eq=False)
class Wait:
    """Waits for another caller's value, until a time of the monotonic clock; the result is a step."""

    wait: _core.FlightWait
    deadline: float

    def act(self, call: Any) -> Step:
        """See `Effect`. Does not wait in the thread of an event loop, which may have to run the leader."""
        step: Step | None
        try:
            if _runs_event_loop():
                return cast("Step", call.cache._lead(self.wait, False))
            sleep = _poll() if green_wait() is not None else self.wait.sleep
            while (left := self.deadline - time.monotonic()) > 0:
                if sleep(min(left, _SIGNALS)):
                    step = call.cache._outcome(self.wait)
                    if step is not None:
                        return step
            return cast("Step", call.cache._lead(self.wait, True))
        finally:
            self.wait.close()

    async def aact(self, call: Any) -> Step:
        """See `Effect`."""
        loop = asyncio.get_running_loop()
        pause = _FIRST_LOOK
        step: Step | None
        try:
            while (left := self.deadline - time.monotonic()) > 0:
                future = loop.create_future()
                step = call.cache._outcome_or_wake(self.wait, loop, functools.partial(_wake, future))
                if step is not None:
                    return step
                if self.wait.looks:
                    # The leader is in another process: nobody wakes this one.
                    left, pause = min(left, pause), min(2 * pause, _LAST_LOOK)
                else:
                    left = min(left, _CHECK)
                timer = loop.call_later(left, _wake, future)
                try:
                    await future
                finally:
                    timer.cancel()
            return cast("Step", call.cache._lead(self.wait, True))
        finally:
            self.wait.close()


def _runs_event_loop() -> bool:
    """Returns whether this thread is running an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _poll() -> Callable[[float], bool]:
    """Returns a function that sleeps for a while and lets other greenlets run."""
    pause = _FIRST_LOOK

    def sleep(seconds: float) -> bool:
        nonlocal pause
        time.sleep(min(seconds, pause))
        pause = min(2 * pause, _LAST_LOOK)
        return True

    return sleep


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class within:  # noqa: N801 (used as a function; faster than a contextlib.contextmanager)
    """Runs the block as part of a flight: if it needs the flight's own key, it does not wait for itself."""

    __slots__ = ("flight", "token")

    def __init__(self, flight: _core.Flight) -> None:
        """Takes the flight."""
        self.flight = flight

    def __enter__(self) -> None:
        """Begins the block."""
        self.token = begin(self.flight)

    def __exit__(self, *raised: object) -> None:
        """Ends the block."""
        try:  # noqa: SIM105 (faster than contextlib.suppress)
            CURRENT.reset(self.token)
        except ValueError:
            # The coroutine around the block is closed in another context, where the variable was not set: for
            # example by the garbage collector, after its event loop has ended.
            pass


@dataclass(slots=True, eq=False)
class Lock:
    """Asks the server of a cache whether this machine computes; the result is a step.

    Its kind is LEAD if it does, WAIT if another machine does, or HIT with the value if there is one.
    """

    flight: _core.Flight
    overtakes: bool

    def act(self, call: Call) -> Step:
        """See `Effect`."""
        step: Step = call.cache._lock_flight(
            self.flight, token_hex(16), call.options.lock_timeout, self.overtakes
        )
        return step

    async def aact(self, call: Call) -> Step:
        """See `Effect`."""
        step: Step = await call.cache._alock_flight(
            self.flight, token_hex(16), call.options.lock_timeout, self.overtakes
        )
        return step


@dataclass(slots=True, eq=False)
class Pause:
    """Waits for some seconds."""

    seconds: float

    def act(self, call: Any) -> None:
        """See `Effect`."""
        time.sleep(self.seconds)

    async def aact(self, call: Any) -> None:
        """See `Effect`."""
        await asyncio.sleep(self.seconds)


@dataclass(slots=True, eq=False)
class Compute:
    """Computes the value; the result is the value."""

    flight: _core.Flight

    def act(self, call: Call) -> Any:
        """See `Effect`."""
        # As `within`, in less time.
        token = begin(self.flight)
        try:
            return call.default()
        finally:
            CURRENT.reset(token)

    async def aact(self, call: Call) -> Any:
        """See `Effect`. Awaits what the function returns, if that is an awaitable."""
        with within(self.flight):
            value = call.default()
            return await value if inspect.isawaitable(value) else value


@dataclass(slots=True, eq=False)
class StoreIf:
    """Calls ``store_if``; the result is whether to store the value."""

    flight: _core.Flight
    store_if: Callable[[Any], bool]
    value: Any

    def act(self, call: Any) -> bool:
        """See `Effect`."""
        with within(self.flight):
            return bool(self.store_if(self.value))

    async def aact(self, call: Any) -> bool:
        """See `Effect`."""
        return self.act(call)


@dataclass(slots=True, eq=False)
class Complete:
    """Stores a value, and hands it to the waiters; the result is whether it was stored."""

    flight: _core.Flight
    value: Any
    cost: float

    def act(self, call: Any) -> bool:
        """See `Effect`."""
        options = call.options
        # Pickling the value may use the cache.
        token = begin(self.flight)
        try:
            is_stored: bool = call.cache._complete(
                self.flight, self.value, call.timeout, options.jitter, options.stale, self.cost, options.early
            )
        finally:
            CURRENT.reset(token)
        return is_stored

    async def aact(self, call: Any) -> bool:
        """See `Effect`."""
        options = call.options
        with within(self.flight):
            is_stored: bool = await call.cache._acomplete(
                self.flight, self.value, call.timeout, options.jitter, options.stale, self.cost, options.early
            )
        return is_stored


@dataclass(slots=True, eq=False)
class Read:
    """Reads what another caller has stored meanwhile; the result is the value, or the default."""

    default: Any

    def act(self, call: Call) -> Any:
        """See `Effect`."""
        return call.cache.get(call.key, self.default, version=call.version)

    async def aact(self, call: Call) -> Any:
        """See `Effect`."""
        return await call.cache.aget(call.key, self.default, version=call.version)


@dataclass(slots=True, eq=False)
class Store:
    """Stores a value by the cache's methods, as Django does; the result is what they return for the key."""

    flight: _core.Flight
    value: Any
    replaces: bool

    def act(self, call: Call) -> Any:
        """See `Effect`."""
        cache = call.cache
        store = cache.set if self.replaces else cache.add
        with within(self.flight):
            store(call.key, self.value, timeout=call.timeout, version=call.version)
            return cache.get(call.key, self.value, version=call.version)

    async def aact(self, call: Call) -> Any:
        """See `Effect`."""
        cache = call.cache
        store = cache.aset if self.replaces else cache.aadd
        with within(self.flight):
            await store(call.key, self.value, timeout=call.timeout, version=call.version)
            return await cache.aget(call.key, self.value, version=call.version)


@dataclass(slots=True, eq=False)
class Finish:
    """Hands a value that is not stored to the waiters."""

    flight: _core.Flight
    value: Any

    def act(self, call: Any) -> None:
        """See `Effect`."""
        with within(self.flight):
            call.cache._finish(self.flight, self.value)

    async def aact(self, call: Any) -> None:
        """See `Effect`."""
        with within(self.flight):
            call.cache._finish(self.flight, self.value)


@dataclass(slots=True, eq=False)
class Background:
    """Runs a flow that nobody waits for; the result is whether it will be run."""

    flow: Generator[Any, Any, Any]
    on_failure: background.OnFailure

    def act(self, call: Any) -> bool:
        """See `Effect`."""
        return background.start_thread(call, self.flow, self.on_failure)

    async def aact(self, call: Any) -> bool:
        """See `Effect`."""
        return background.start_task(call, self.flow, self.on_failure)
