"""Sends requests over HTTP from several threads and measures the latencies.

It runs on the same machine as the server that it measures, so it does little work: it reads each response to
the end, and evaluates only the status and the cookies.
"""

from collections import defaultdict
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from itertools import cycle, islice
from math import inf
from threading import Event, Thread
from time import perf_counter

TIMEOUT = 15
# After so many failures, the run stops.
MAX_FAILURES = 50


@dataclass(frozen=True)
class RunLength:
    """The length of a run: a number of seconds, or a number of requests for each client."""

    seconds: float | None = None
    requests_by_client: list[int] | None = None

    def __str__(self):
        if self.requests_by_client is None:
            return f"{self.seconds:.1f} s"
        return f"{sum(self.requests_by_client):,} requests"


@dataclass(frozen=True)
class Traffic:
    """The result of a run."""

    seconds: float
    latencies: list[float]  # seconds, one per request, sorted
    requests_by_client: list[int]
    failures: list[str]
    lost_sessions: int

    @property
    def requests(self):
        return len(self.latencies)


def send(server, requests_by_client, length, on_progress):
    """Sends the requests of all clients, each client in a thread; returns a `Traffic`.

    Calls `on_progress(seconds, requests)` about ten times a second. Raises `ServerError` if the server exits.
    """
    stop = Event()
    quotas = length.requests_by_client or [None] * len(requests_by_client)
    clients = [
        Client(server.addresses, islice(requests, quota), stop)
        for requests, quota in zip(requests_by_client, quotas, strict=True)
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
    """Sends the requests of several visitors, one at a time, to each address in turn.

    A daemon thread, so that the demo can exit.
    """

    def __init__(self, addresses, requests, stop):
        super().__init__(daemon=True)
        self.latencies = []
        self.failures = []
        self.lost_sessions = 0
        self.finished = None
        self._requests = requests
        self._stop_event = stop
        self._connections = [HTTPConnection(host, port, timeout=TIMEOUT) for host, port in addresses]
        self._next = cycle(self._connections)
        self._cookies = defaultdict(dict)  # by visitor

    def run(self):
        for request in self._requests:
            self._send(request)
            if len(self.failures) >= MAX_FAILURES:
                self._stop_event.set()
            if self._stop_event.is_set():
                break
        self.finished = perf_counter()
        for connection in self._connections:
            connection.close()

    def _send(self, request):
        cookies = self._cookies[request.visitor]
        headers = (
            {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())} if cookies else {}
        )
        if request.method == "POST":
            headers["X-CSRFToken"] = cookies.get("csrftoken", "")
        connection = next(self._next)
        started = perf_counter()
        try:
            connection.request(request.method, request.path, headers=headers)
            response = connection.getresponse()
            response.read()
        except (OSError, HTTPException) as error:
            connection.close()  # the next request reconnects
            self.failures.append(f"{request.method} {request.path}: {error!r}")
            return
        finally:
            self.latencies.append(perf_counter() - started)
        if response.status >= 400:
            self.failures.append(f"{request.method} {request.path}: status {response.status}")
        self._keep_cookies(cookies, response.headers.get_all("Set-Cookie", ()))

    def _keep_cookies(self, cookies, headers):
        for header in headers:
            name, _, value = header.partition(";")[0].partition("=")
            # The site starts a new session only if there is none: the visitor has lost the previous one.
            if name == "sessionid" and cookies.get(name, value) != value:
                self.lost_sessions += 1
            cookies[name] = value
