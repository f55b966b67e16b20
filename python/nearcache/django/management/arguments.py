"""The command-line arguments of ``manage.py nearcache``."""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction


def add_actions(parser: ArgumentParser) -> None:
    """Adds the actions and their arguments to the parser of the command."""
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="stats|keys|get|delete|clear|verify|files"
    )

    def action(name: str, text: str) -> ArgumentParser:
        added = actions.add_parser(name, help=text, description=text)
        added.add_argument("--json", dest="as_json", action="store_true", help="write JSON, for scripts")
        return added

    stats = action("stats", "Show the counters, the size and the capacity of caches.")
    _add_caches(stats, default="all nearcache caches", every=False)
    keys = action("keys", "List the keys that match a glob pattern.")
    _add_cache(keys)
    keys.add_argument("pattern", nargs="?", default="*", help="a glob pattern such as 'user:*' (default: *)")
    keys.add_argument("--limit", type=_limit, metavar="N", help="list at most N keys")
    keys.add_argument(
        "--ttl",
        action=BooleanOptionalAction,
        help="show the seconds until each key expires (default: if the output is a terminal)",
    )
    keys.add_argument(
        "--show-sessions",
        action="store_true",
        help="list session keys, too; a session key is enough to take over the session",
    )
    get = action("get", "Show the value and the remaining lifetime of a key.")
    _add_cache(get)
    get.add_argument("key")
    delete = action("delete", "Delete entries by their keys.")
    _add_cache(delete)
    delete.add_argument("keys", nargs="+", metavar="key")
    delete.add_argument("--pattern", action="store_true", help="treat the keys as glob patterns")
    clear = action("clear", "Delete all entries, including those with another KEY_PREFIX or version.")
    _add_caches(clear, default="default", every=True)
    verify = action("verify", "Check the integrity of the file of a SharedCache. The site may keep running.")
    _add_caches(verify, default="default", every=True)
    files = action("files", "List the SharedCache files of this user and the processes that use them.")
    files.add_argument("--remove", action="store_true", help="delete the files that no process has open")


def _add_cache(action: ArgumentParser) -> None:
    """Adds the options of an action on one cache."""
    action.add_argument(
        "--cache", dest="aliases", nargs=1, metavar="ALIAS", help="an alias in CACHES (default: default)"
    )
    action.add_argument(
        "--key-version", type=int, metavar="N", help="the version of the keys (default: VERSION)"
    )
    action.set_defaults(every=False)


def _add_caches(action: ArgumentParser, *, default: str, every: bool) -> None:
    """Adds the options of an action on several caches."""
    which = action.add_mutually_exclusive_group()
    text = f"an alias in CACHES; may be repeated (default: {default})"
    which.add_argument("--cache", dest="aliases", action="append", metavar="ALIAS", help=text)
    if every:
        which.add_argument("--all", dest="every", action="store_true", help="all nearcache caches in CACHES")
    action.set_defaults(every=False)


def _limit(text: str) -> int:
    """Converts the value of ``--limit``. argparse reports the `ValueError`."""
    number = int(text)
    if number < 0:
        raise ValueError
    return number
