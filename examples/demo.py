"""Serves a Django bookshop without a cache and with several cache backends, and compares them.

Then serves it on two "machines", which are loopback addresses, with the caches that machines can share.

    python examples/demo.py             the comparison
    python examples/demo.py --check     the same; exits 1 if the figures are inconsistent
    python examples/demo.py --serve     the site with LocalCache, until Ctrl-C

For RedisCache and TieredCache the demo starts redis-server, or Valkey if that is not installed, and stops it
at the end.

All backends get the same requests in the same order. The first cache runs for a number of seconds, and the
others get exactly as many requests, because hit ratios are comparable only for the same number of requests.
"""

import argparse
import signal
import sys

from harness.progress import Progress
from harness.report import (
    NAMES,
    OF_ONE_MACHINE,
    Outcome,
    problems,
    table,
    table_of_machines,
)
from harness.server import Machines, Server, ServerError, prepare
from harness.storage import OF_MACHINES, temporary_storage, unavailable_reason
from harness.traffic import RunLength, send
from harness.workload import Workload

CLIENTS = 4
# The share of the time in which the cache fills. A site runs for days, so the figures leave it out.
WARM_UP_SHARE = 0.4
# Few enough requests that a cache which is empty after a restart does not fill up.
AFTER_RESTART = RunLength(requests_by_client=[75] * CLIENTS)
# Enough requests that each process has the page, and then so many that are measured.
PAGE_WARM_UP = RunLength(requests_by_client=[25] * CLIENTS)
PAGE = RunLength(requests_by_client=[150] * CLIENTS)
# Without a cache there is nothing to fill, so less time is enough.
NO_CACHE_SHARE = 0.4
# With --check, the comparison on two machines is shorter.
CHECK_SHARE = 0.4


def main():
    options = parse_arguments()
    progress = Progress()
    # Raises an exception on SIGTERM, so that the `with` blocks stop the servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        progress.stage("preparing the database ...")
        prepare()
        if options.serve:
            return serve(options.port, progress)
        return compare(options, progress)
    except ServerError as error:
        progress.clear()
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        progress.clear()
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT


def compare(options, progress):
    left_out = {cache: reason for cache in NAMES if (reason := unavailable_reason(cache))}
    if missing := next((cache for cache in options.backends or () if cache in left_out), None):
        raise ServerError(f"{NAMES[missing]} is not available: {left_out[missing]}")
    chosen = options.backends or [cache for cache in NAMES if cache not in left_out]
    found = []
    if caches := [cache for cache in chosen if cache in OF_ONE_MACHINE]:
        outcomes = measure_all(caches, Server, options.seconds, progress)
        print(table(outcomes))
        found += problems(outcomes)
    if caches := [cache for cache in chosen if cache in OF_MACHINES]:
        seconds = options.seconds * (CHECK_SHARE if options.check else 1)
        outcomes = measure_all(caches, Machines, seconds, progress)
        print(f"\nOn two machines\n\n{table_of_machines(outcomes)}")
        found += problems(outcomes)
    if not options.backends:
        for cache, reason in left_out.items():
            print(f"\nLeft out: {NAMES[cache]} ({reason})")
    for problem in found:
        print(f"problem: {problem}", file=sys.stderr)
    return 1 if found and options.check else 0


def measure_all(caches, site, seconds, progress):
    """Serves the site with one cache after another; returns an `Outcome` for each."""
    outcomes = []
    lengths = None
    for cache in caches:
        if cache == "none":
            outcome = measure(cache, site, *split(seconds * NO_CACHE_SHARE), progress)
        else:
            outcome = measure(cache, site, *(lengths or split(seconds)), progress)
            lengths = [RunLength(requests_by_client=part.requests_by_client) for part in outcome.parts]
        outcomes.append(outcome)
    progress.clear()
    return outcomes


def split(seconds):
    return RunLength(seconds * WARM_UP_SHARE), RunLength(seconds * (1 - WARM_UP_SHARE))


def measure(cache, site, warm_up_length, length, progress):
    """Serves the site with one cache, sends requests, restarts it, and sends requests again.

    Before the restart, it sends requests for one page that `cache_page` caches.

    ``site`` is `Server` or `Machines`.
    """
    name = NAMES[cache]
    progress.stage(f"{name}: starting the server ...")
    with temporary_storage(cache) as location:
        with site(cache, location) as server:
            workload = Workload(server.get("/sitemap.txt").decode().split())
            requests = [workload.requests(client) for client in range(3 * CLIENTS)]
            warm_up = send_requests(
                server, requests[CLIENTS : 2 * CLIENTS], warm_up_length, f"{name}, warming up", progress
            )
            traffic, counted = send_and_count(server, requests[:CLIENTS], length, name, progress)
            for length_of_page in (PAGE_WARM_UP, PAGE):
                pages = [workload.one_page() for _ in range(CLIENTS)]
                page = send_requests(server, pages, length_of_page, f"{name}, one page", progress)
        with site(cache, location) as server:
            restarted = send_and_count(
                server, requests[2 * CLIENTS :], AFTER_RESTART, f"{name}, restarted", progress
            )
    return Outcome(cache, warm_up, traffic, counted, page, *restarted)


def send_and_count(server, requests, length, title, progress):
    """Sends requests; returns what the clients measured, and what the site counted during that time."""
    before = server.stats()
    traffic = send_requests(server, requests, length, title, progress)
    return traffic, {key: number - before[key] for key, number in server.stats().items()}


def send_requests(server, requests, length, title, progress):
    progress.stage(f"{title}: {len(requests)} clients, {length} ...")
    return send(
        server,
        requests,
        length,
        lambda seconds, sent: progress.update(f"{title}: {sent:,} requests in {seconds:.1f} s, of {length}"),
    )


def serve(port, progress):
    progress.stage("starting the server ...")
    with Server("nearcache", port=port) as server:
        progress.clear()
        print(
            f"The bookshop is at {server.url} (admin: user demo, password demo). Ctrl-C stops it.", flush=True
        )
        try:
            server.wait()
        except KeyboardInterrupt:
            print("\nstopped", file=sys.stderr)
    return 0


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--serve", action="store_true", help="serve the site with LocalCache until Ctrl-C")
    parser.add_argument("--port", type=port, default=8000, help="the port for --serve (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="exit 1 if the figures are inconsistent")
    parser.add_argument(
        "--seconds",
        type=positive,
        default=10.0,
        help="seconds for each cache, approximately (default: %(default)s)",
    )
    parser.add_argument(
        "--backends",
        type=backends,
        metavar="NAME,...",
        help=f"the backends to compare (default: all that are available of {','.join(NAMES)})",
    )
    return parser.parse_args()


def positive(text):
    if (number := float(text)) <= 0:
        raise argparse.ArgumentTypeError(f"is {text}; expected more than 0")
    return number


def port(text):
    if not 0 <= (number := int(text)) <= 65535:
        raise argparse.ArgumentTypeError(f"is {text}; expected 0 (any free port) to 65535")
    return number


def backends(text):
    names = text.split(",")
    if unknown := [name for name in names if name not in NAMES]:
        raise argparse.ArgumentTypeError(
            f"unknown: {', '.join(unknown)}; expected one or more of {','.join(NAMES)}"
        )
    return names


if __name__ == "__main__":
    sys.exit(main())
