"""The command line of ``manage.py nearcache``."""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction


def declare(parser: ArgumentParser) -> None:
    """Declare the actions and their arguments."""
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="stats|keys|get|delete|clear|verify|files"
    )

    def action(name: str, text: str) -> ArgumentParser:
        declared = actions.add_parser(name, help=text, description=text)
        declared.add_argument("--json", dest="as_json", action="store_true", help="write JSON, for scripts")
        return declared

    stats = action("stats", "Show what the caches have counted and hold.")
    _take_caches(stats, default="all of ours", every=False)
    keys = action("keys", "List the keys that fit a glob.")
    _take_cache(keys)
    keys.add_argument("pattern", nargs="?", default="*", help="such as 'user:*' (default: *)")
    keys.add_argument("--limit", type=_limit, metavar="N", help="list at most N keys")
    keys.add_argument(
        "--ttl",
        action=BooleanOptionalAction,
        help="show the seconds that each key has to live (default: if the output is a terminal)",
    )
    keys.add_argument(
        "--show-sessions",
        action="store_true",
        help="list session keys, too: one is enough to take over a session",
    )
    get = action("get", "Show a value.")
    _take_cache(get)
    get.add_argument("key")
    delete = action("delete", "Delete entries by their keys.")
    _take_cache(delete)
    delete.add_argument("keys", nargs="+", metavar="key")
    delete.add_argument("--pattern", action="store_true", help="the keys are globs")
    clear = action("clear", "Delete everything, whatever its prefix and version.")
    _take_caches(clear, default="default", every=True)
    verify = action("verify", "Check the whole file of a SharedCache, while the site runs.")
    _take_caches(verify, default="default", every=True)
    files = action("files", "List the files of this user's SharedCaches, and the processes using them.")
    files.add_argument("--remove", action="store_true", help="delete the files that no process has open")


def _take_cache(action: ArgumentParser) -> None:
    """Declare the options of an action on one cache."""
    action.add_argument(
        "--cache", dest="aliases", nargs=1, metavar="ALIAS", help="an alias in CACHES (default: default)"
    )
    action.add_argument("--key-version", type=int, metavar="N", help="instead of VERSION")
    action.set_defaults(every=False)


def _take_caches(action: ArgumentParser, *, default: str, every: bool) -> None:
    """Declare the options of an action on several caches."""
    which = action.add_mutually_exclusive_group()
    text = f"an alias in CACHES; may be repeated (default: {default})"
    which.add_argument("--cache", dest="aliases", action="append", metavar="ALIAS", help=text)
    if every:
        which.add_argument("--all", dest="every", action="store_true", help="all of ours in CACHES")
    action.set_defaults(every=False)


def _limit(text: str) -> int:
    """Read ``--limit``; argparse reports a `ValueError`."""
    number = int(text)
    if number < 0:
        raise ValueError
    return number
