"""Random schedules of `get_or_set`, writes and the clock, against a specification of a few lines."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.memory_only("a TieredCache has no clock of its own")

TIMEOUT = 10


class FailedError(Exception):
    pass


class Specification:
    """What each call returns, and what the cache has: a value, and at most one flight that counts."""

    def __init__(self):
        self.now, self.value, self.expires = 0, None, 0
        self.current = None
        self.flights, self.results = {}, {}

    def live(self):
        return self.value if self.value is not None and self.now < self.expires else None

    def call(self, number):
        if self.live() is not None:
            self.results[number] = self.live()
        elif self.current is not None:
            self.flights[self.current].append(number)
        else:
            self.current = number
            self.flights[number] = []

    def finish(self, leader, value):
        waiters = self.flights.pop(leader)
        if leader == self.current:
            self.current = None
            if value is not FailedError:
                self.value, self.expires = value, self.now + TIMEOUT
        stored = self.live() if value is not FailedError else None
        self.results[leader] = value if stored is None else stored
        for waiter in waiters:
            self.results[waiter] = value

    def write(self, value):
        self.value, self.expires = value, self.now + TIMEOUT
        self.current = None


STEPS = st.lists(
    st.one_of(
        st.just(("call",)),
        st.tuples(st.just("return"), st.integers(0, 3)),
        st.tuples(st.just("raise"), st.integers(0, 3)),
        st.just(("set",)),
        st.just(("delete",)),
        st.tuples(st.just("advance"), st.integers(1, TIMEOUT)),
    ),
    max_size=30,
)


class Schedule:
    """Runs the steps on a cache and on the specification."""

    def __init__(self, cache, clock):
        self.cache, self.clock = cache, clock
        self.specification = Specification()
        self.count = 0
        self.outcomes, self.tasks = {}, {}

    async def settle(self):
        # A task needs a few rounds from one wake-up to its end.
        for _ in range(8):
            await asyncio.sleep(0)

    async def compute(self, number):
        outcome = self.outcomes[number] = asyncio.get_running_loop().create_future()
        value = await outcome
        if value is FailedError:
            raise FailedError
        return value

    async def step(self, kind, argument=0):
        specification, number = self.specification, self.count
        self.count += 1
        if kind == "call":
            specification.call(number)
            call = self.cache.aget_or_set("key", lambda: self.compute(number), TIMEOUT, lock_timeout=1000)
            self.tasks[number] = asyncio.ensure_future(call)
        elif kind in {"return", "raise"}:
            leaders = sorted(specification.flights)
            if leaders:
                leader = leaders[argument % len(leaders)]
                value = f"computed {number}" if kind == "return" else FailedError
                specification.finish(leader, value)
                self.outcomes[leader].set_result(value)
        elif kind == "set":
            specification.write(f"set {number}")
            self.cache.set("key", f"set {number}", TIMEOUT)
        elif kind == "delete":
            specification.write(None)
            self.cache.delete("key")
        else:
            specification.now += argument
            self.clock.advance(argument)
        await self.settle()

    def results(self):
        done = {number: task for number, task in self.tasks.items() if task.done()}
        return {
            number: type(task.exception()) if task.exception() else task.result()
            for number, task in done.items()
        }

    async def run(self, steps):
        for step in steps:
            await self.step(*step)
            assert self.results() == self.specification.results
            assert sorted(self.specification.flights) == sorted(
                number for number, outcome in self.outcomes.items() if not outcome.done()
            )
            assert self.cache.get("key") == self.specification.live()
        while self.specification.flights:
            await self.step("return")
        assert self.results() == self.specification.results
        assert len(self.results()) == len(self.tasks)


@given(STEPS)
def test_calls_return_what_the_specification_says(make_cache, clock, steps):
    # One for all schedules: a process never closes the file of a SharedCache.
    cache = make_cache(CLOCK=clock.path, LOCATION="schedules")
    cache.clear()
    asyncio.run(Schedule(cache, clock).run(steps))
