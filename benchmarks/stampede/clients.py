"""The clients: requests at fixed times, whether or not earlier ones have been answered.

A client that waits for its answer past the time of its next request sends that one late. The latency of
such a request is counted from the time at which it was due, so no wait is left out of the percentiles.
"""

import asyncio
import gc
import time
from typing import NamedTuple

from .scenario import CLIENTS, RATE, VALUE, seconds

REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
ANSWER_SECONDS = 30


class AnswerError(Exception):
    """The site did not answer as expected."""


class Visit(NamedTuple):
    """One request: when it was sent, or due, and when the last byte of the answer came."""

    sent: int
    answered: int

    @property
    def latency(self) -> int:
        """Return the nanoseconds between the two."""
        return self.answered - self.sent


def visits(port: int, start: int, until: int) -> list[Visit]:
    """Send the requests of all clients between two points in time; return them, in order of sending."""
    gc.collect()
    gc.disable()  # a collection would delay the answers of all clients
    try:
        return asyncio.run(visits_of_all(port, start, until))
    finally:
        gc.enable()


async def visits_of_all(port: int, start: int, until: int) -> list[Visit]:
    """Run the clients, each of which begins one request later than the one before."""
    clients = [client(port, start + seconds(number / RATE), until) for number in range(CLIENTS)]
    return sorted(visit for found in await asyncio.gather(*clients) for visit in found)


async def client(port: int, due: int, until: int) -> list[Visit]:
    """Send a request each time that one is due."""
    found = []
    while due < until:
        sent = due
        if (remaining := due - time.monotonic_ns()) > 0:
            await asyncio.sleep(remaining / 1e9)
            # The event loop's timer may be late, for which the site is not to blame.
            sent = time.monotonic_ns()
        found.append(Visit(sent, await asyncio.wait_for(request(port), ANSWER_SECONDS)))
        due += seconds(CLIENTS / RATE)
    return found


async def request(port: int) -> int:
    """Send one request; return when its answer was complete.

    Each request has a connection of its own, as behind a reverse proxy, so that any free worker takes it.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(REQUEST)
        answer = await reader.readuntil(VALUE.encode())
    except asyncio.IncompleteReadError as error:
        raise AnswerError(f"the site answered {first_line(error.partial)!r}; expected the report") from error
    finally:
        writer.close()
    answered = time.monotonic_ns()
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise AnswerError(f"the site answered {first_line(answer)!r}; expected the status 200")
    return answered


def first_line(answer: bytes) -> str:
    """Return the first line of an answer."""
    return answer.partition(b"\r\n")[0].decode("ascii", "replace")
