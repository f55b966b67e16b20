"""Serves the bookshop without a cache and with Django's and nearcache's; compares how they do.

    python examples/demo.py             the comparison
    python examples/demo.py --check     the same, failing if the figures cannot be right
    python examples/demo.py --serve     the site with LocalCache, until Ctrl-C

RedisCache takes part where a redis-server is installed, which is started for it and stopped.

All get the same visits in the same order. The first cache is given a number of seconds, and the next one gets
exactly as many requests: hit ratios do not compare if one cache saw more of the traffic than the other.
"""

import argparse
import signal
import sys

from harness.progress import Progress
from harness.report import NAMES, Outcome, problems, table
from harness.server import Server, ServerError, prepare
from harness.storage import empty_store, why_not
from harness.traffic import Length, send
from harness.workload import Journeys

CLIENTS = 4
# A site runs for days, and what its first seconds were like matters little: they are not part of the figures.
WARM_UP_SHARE = 0.4
# So soon after a restart a cache that lost everything has hardly begun to fill.
AFTER_RESTART = Length(requests_by_client=[75] * CLIENTS)
# Without a cache the figures settle early.
NO_CACHE_SHARE = 0.4


def main():
    options = parse_arguments()
    progress = Progress()
    # As an exception, it ends the `with` blocks, and with them the server.
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
    outcomes = []
    lengths = None
    left_out = {cache: reason for cache in NAMES if (reason := why_not(cache))}
    if named := next((cache for cache in options.backends or () if cache in left_out), None):
        raise ServerError(f"{NAMES[named]}: {left_out[named]}")
    for cache in options.backends or [cache for cache in NAMES if cache not in left_out]:
        if cache == "none":
            outcome = measure(cache, *split(options.seconds * NO_CACHE_SHARE), progress)
        else:
            outcome = measure(cache, *(lengths or split(options.seconds)), progress)
            lengths = [Length(requests_by_client=part.requests_by_client) for part in outcome.parts]
        outcomes.append(outcome)
    progress.clear()
    print(table(outcomes))
    if not options.backends:
        for cache, reason in left_out.items():
            print(f"\nLeft out: {NAMES[cache]}, since {reason}")
    found = list(problems(outcomes))
    for problem in found:
        print(f"problem: {problem}", file=sys.stderr)
    return 1 if found and options.check else 0


def split(seconds):
    return Length(seconds * WARM_UP_SHARE), Length(seconds * (1 - WARM_UP_SHARE))


def measure(cache, warm_up_length, length, progress):
    """Serve the site with one cache and let the visitors in."""
    name = NAMES[cache]
    progress.stage(f"{name}: starting the server ...")
    with empty_store(cache) as location:
        with Server(cache, location) as server:
            journeys = Journeys(server.get("/sitemap.txt").decode().split())
            steps = [journeys.steps(client) for client in range(3 * CLIENTS)]
            warm_up = visit(
                server, steps[CLIENTS : 2 * CLIENTS], warm_up_length, f"{name}, warming up", progress
            )
            traffic, counted = counted_visit(server, steps[:CLIENTS], length, name, progress)
        with Server(cache, location) as server:
            again = counted_visit(server, steps[2 * CLIENTS :], AFTER_RESTART, f"{name}, restarted", progress)
    return Outcome(cache, warm_up, traffic, counted, *again)


def counted_visit(server, steps, length, title, progress):
    """Let the visitors in; return what they saw, and what the site counted meanwhile."""
    before = server.stats()
    traffic = visit(server, steps, length, title, progress)
    return traffic, {key: number - before[key] for key, number in server.stats().items()}


def visit(server, steps, length, title, progress):
    progress.stage(f"{title}: {len(steps)} clients, {length} ...")
    return send(
        server,
        steps,
        length,
        lambda seconds, requests: progress.update(
            f"{title}: {requests:,} requests in {seconds:.1f} s, of {length}"
        ),
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
    parser.add_argument(
        "--port", type=port, default=8000, help="where --serve listens (default: %(default)s)"
    )
    parser.add_argument("--check", action="store_true", help="exit 1 if the figures cannot be right")
    parser.add_argument(
        "--seconds", type=positive, default=10.0, help="for each cache, about (default: %(default)s)"
    )
    parser.add_argument(
        "--backends",
        type=backends,
        metavar="NAME,...",
        help=f"which to compare (default: {','.join(NAMES)}, as far as they can run here)",
    )
    return parser.parse_args()


def positive(text):
    if (number := float(text)) <= 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return number


def port(text):
    if not 0 <= (number := int(text)) <= 65535:
        raise argparse.ArgumentTypeError("must be from 0 (any free port) to 65535")
    return number


def backends(text):
    names = text.split(",")
    if unknown := [name for name in names if name not in NAMES]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(NAMES)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
