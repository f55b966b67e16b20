"""Sends the visits as real HTTP requests, a few at a time, and takes the time.

It shares the machine with the server it measures, so it does as little as it can: it reads each answer to its
end and looks at nothing but the status and the cookies.
"""

from collections import defaultdict
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from itertools import islice
from math import inf
from threading import Event, Thread
from time import perf_counter

from harness.server import HOST

TIMEOUT = 15
# A site this broken need not be asked further.
FAILURES_BEFORE_GIVING_UP = 50


@dataclass(frozen=True)
class Length:
    """How long to go on: for some seconds, or until each client has made its number of requests."""

    seconds: float | None = None
    requests_by_client: list[int] | None = None

    def __str__(self):
        if self.requests_by_client is None:
            return f"{self.seconds:.1f} s"
        return f"{sum(self.requests_by_client):,} requests"


@dataclass(frozen=True)
class Traffic:
    """What came of it."""

    seconds: float
    latencies: list[float]  # seconds, one per request, sorted
    requests_by_client: list[int]
    failures: list[str]
    lost_sessions: int

    @property
    def requests(self):
        return len(self.latencies)


def send(server, steps_by_client, length, on_progress):
    """Let each client take its steps, all at the same time.

    `on_progress(seconds, requests)` is called a few times a second. Raises `ServerError` if the server ends.
    """
    stop = Event()
    quotas = length.requests_by_client or [None] * len(steps_by_client)
    clients = [
        Client(server.port, islice(steps, quota), stop)
        for steps, quota in zip(steps_by_client, quotas, strict=True)
    ]
    started = perf_counter()
    try:
        for client in clients:
            client.start()
        while any(client.is_alive() for client in clients) and not stop.is_set():
            elapsed = perf_counter() - started
            on_progress(elapsed, sum(len(client.latencies) for client in clients))
            server.check()
            remaining = inf if length.seconds is None else length.seconds - elapsed
            if remaining <= 0:
                break
            stop.wait(min(0.1, remaining))
    finally:
        stop.set()
    for client in clients:
        client.join()
    return Traffic(
        seconds=max(client.finished for client in clients) - started,
        latencies=sorted(latency for client in clients for latency in client.latencies),
        requests_by_client=[len(client.latencies) for client in clients],
        failures=[failure for client in clients for failure in client.failures],
        lost_sessions=sum(client.lost_sessions for client in clients),
    )


class Client(Thread):
    """One request at a time, of several visitors. A daemon: it does not keep the demo from ending."""

    def __init__(self, port, steps, stop):
        super().__init__(daemon=True)
        self.latencies = []
        self.failures = []
        self.lost_sessions = 0
        self.finished = None
        self._steps = steps
        self._stop_event = stop
        self._connection = HTTPConnection(HOST, port, timeout=TIMEOUT)
        self._cookies = defaultdict(dict)  # by visitor

    def run(self):
        for step in self._steps:
            self._take(step)
            if len(self.failures) >= FAILURES_BEFORE_GIVING_UP:
                self._stop_event.set()
            if self._stop_event.is_set():
                break
        self.finished = perf_counter()
        self._connection.close()

    def _take(self, step):
        cookies = self._cookies[step.visitor]
        headers = (
            {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())} if cookies else {}
        )
        if step.method == "POST":
            headers["X-CSRFToken"] = cookies.get("csrftoken", "")
        started = perf_counter()
        try:
            self._connection.request(step.method, step.path, headers=headers)
            response = self._connection.getresponse()
            response.read()
        except (OSError, HTTPException) as error:
            self._connection.close()  # the next request opens it anew
            self.failures.append(f"{step.method} {step.path}: {error!r}")
            return
        finally:
            self.latencies.append(perf_counter() - started)
        if response.status >= 400:
            self.failures.append(f"{step.method} {step.path}: status {response.status}")
        self._keep_cookies(cookies, response.headers.get_all("Set-Cookie", ()))

    def _keep_cookies(self, cookies, headers):
        for header in headers:
            name, _, value = header.partition(";")[0].partition("=")
            # The site hands out a session when there is none. Who had one before has lost it, basket and all.
            if name == "sessionid" and cookies.get(name, value) != value:
                self.lost_sessions += 1
            cookies[name] = value
