"""The extension module, written in Rust (``crates/nearcache-python``)."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from os import PathLike
from typing import Any, Generic, Literal, SupportsFloat, SupportsIndex, TypeAlias, TypeVar, final, overload

from typing_extensions import Self, disjoint_base

__all__ = [
    "Backend",
    "Completions",
    "Flight",
    "FlightWait",
    "KeyIterator",
    "Pending",
    "RemoteStats",
    "Stats",
    "TieredBackend",
    "__version__",
    "decode_tree",
    "encode_tree",
    "fast_types",
    "inspect_file",
    "real_number",
    "remove_unused_file",
    "stop_listeners",
]

__version__: str

_T = TypeVar("_T")

# What a caller of `Backend.get_or_set` finds: the kind, the value, flight or wait, and a leader's old value.
_Step: TypeAlias = tuple[int, Any, tuple[Any, bool] | None]

def fast_types(
    proxy: type, handler: type, find_place: Callable[[Any], tuple[Any, type] | None]
) -> tuple[type, type]:
    """Returns fast subclasses of Django's ``ConnectionProxy`` and ``CacheHandler``.

    ``find_place`` takes a `Local` of asgiref and returns what `nearcache.django.proxy.find_place` returns.
    The subclasses are created once for each process.
    """

def real_number(given: Any) -> float | None:
    """Returns a real number as a float, by the rules for timeouts; None for any other object."""

def stop_listeners() -> None:
    """Ends the listeners of the TieredCaches of this process, for good; for use at exit.

    Another process of the machine then succeeds at once as the listener of a shared near tier.
    """

# These four exist only in builds with SharedCache, for 64-bit Linux.
def inspect_file(
    path: str | PathLike[str],
) -> tuple[str, int, float | None, float | None, bool, list[int]]:
    """Describes a cache file without changing it.

    Returns its kind (``"cache"``, ``"other version"`` or ``"unfinished"``), its size in bytes, when it was
    created and last opened (Unix seconds, or None), whether a process has it open, and the pids of those
    processes. Raises `ValueError` if it is not a cache file, `OSError` if it is missing or belongs to another
    user.
    """

def remove_unused_file(path: str | PathLike[str]) -> bool:
    """Removes a cache file unless a process has it open; returns whether it was removed.

    A process that opens the file at the same time either prevents its removal or creates a new file. Raises
    the errors of `inspect_file`.
    """

def encode_tree(value: Any) -> bytes:
    """Returns a value in the form in which a SharedCache stores it without pickle; for tests.

    Raises `TypeError` if it would be pickled.
    """

def decode_tree(encoded: bytes) -> Any:
    """Returns the value of such bytes; for tests. Raises `ValueError` if they do not follow the format."""

@disjoint_base
class Backend:
    """Implements the cache methods of the backends.

    Use `nearcache.django.LocalCache` or `nearcache.django.SharedCache`, which derive from it. Ready for use
    after ``_open_local``, ``_open_shared`` or ``_open_as``.
    """

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self: ...
    def _open_local(self, name: str, eviction: str, clock: tuple[Any, str] | None) -> None:
        """Opens the LocalCache with a ``LOCATION``.

        ``eviction`` is ``"adaptive"``, ``"s3-fifo"`` or ``"lru"``; ``clock`` is a module and the name of a
        function in it. Raises `ValueError` if the cache is open with another ``eviction``.
        """

    def _open_as(self, other: Backend) -> None:
        """Opens the cache that another backend has open. The attributes are not copied."""

    def _open_shared(
        self, path: str, size: int, processes: int | None, clock: tuple[Any, str] | None
    ) -> None:
        """Opens the cache file at a path.

        Creates it if it is missing or has another size or number of processes. ``size`` is in bytes. Raises
        `ValueError` if this process has it open with another size or number of processes, `OSError` if it
        cannot be opened.
        """

    def _open_tiered(self, settings: Any) -> None:
        """Opens the remote tier, and the near tier before it, without connecting. Not on Windows.

        ``settings`` has the attributes of `nearcache.django.tiered_options.TieredOptions`. Raises
        `ImproperlyConfigured` for an invalid URL, `OSError` if the file of a shared near tier cannot be
        opened.
        """

    def _verify(self) -> tuple[int, int, int, int, int]:
        """Checks the whole file; returns the fields of `nearcache.django.Verification`."""

    def _panic(self, key: Any) -> None:
        """Panics in Rust while the entry is locked; for tests."""

    def get(self, key: Any, default: Any = None, version: Any = None, *, fresh: bool = False) -> Any:
        """Returns the value of a key, or ``default`` if the key is missing.

        With ``fresh``, a TieredCache asks the server even if it has a near copy. No effect in other caches.
        """

    def get_or_set(
        self,
        key: Any,
        default: Any,
        timeout: Any = ...,
        version: Any = None,
        *,
        stale: float | None = None,
        refresh: Literal["caller", "background"] | None = None,
        early: float | None = None,
        jitter: float | None = None,
        lock_timeout: float | None = None,
        store_if: Callable[[Any], bool] | None = None,
        distributed: bool | None = None,
    ) -> Any:
        """Returns the value of a key; if there is none, computes, stores and returns one.

        ``default`` is the value, or a function that computes it. Of all callers that miss the key at the same
        time, one calls it; the others wait, and return its value or raise its exception. docs/reference/
        get-or-set.md describes the other arguments. None stands for the default, which
        ``OPTIONS["GET_OR_SET"]`` may set.
        """

    @overload
    def set(
        self,
        key: Any,
        value: Any,
        timeout: Any = ...,
        version: Any = None,
        *,
        nx: Literal[False] = False,
        xx: Literal[False] = False,
    ) -> None:
        """Stores a value for ``timeout`` seconds; None means that it never expires.

        Without ``timeout``, the ``TIMEOUT`` of the cache applies. With ``nx``, stores the value only if the
        key is missing; with ``xx``, only if the key is present. In both cases returns whether the value was
        stored; otherwise returns None. Atomic. Raises `ValueError` if both are true.
        """

    @overload
    def set(
        self,
        key: Any,
        value: Any,
        timeout: Any = ...,
        version: Any = None,
        *,
        nx: Literal[True],
        xx: Literal[False] = False,
    ) -> bool: ...
    @overload
    def set(
        self,
        key: Any,
        value: Any,
        timeout: Any = ...,
        version: Any = None,
        *,
        nx: Literal[False] = False,
        xx: Literal[True],
    ) -> bool: ...
    @overload
    def set(
        self,
        key: Any,
        value: Any,
        timeout: Any = ...,
        version: Any = None,
        *,
        nx: bool = False,
        xx: bool = False,
    ) -> bool | None: ...
    def add(self, key: Any, value: Any, timeout: Any = ..., version: Any = None) -> bool:
        """Stores a value if the key is missing; returns whether it was stored. Atomic."""

    def touch(self, key: Any, timeout: Any = ..., version: Any = None) -> bool:
        """Sets the timeout of an entry, in seconds; returns whether the key was found."""

    def incr(self, key: Any, delta: Any = ..., version: Any = None) -> Any:
        """Adds ``delta`` to a value and returns the sum. Atomic; the expiry does not change.

        Raises `ValueError` if the key is missing. An exception that the addition raises is passed on.
        """

    def has_key(self, key: Any, version: Any = None) -> bool:
        """Returns whether the cache has an entry for a key."""

    def delete(self, key: Any, version: Any = None) -> bool:
        """Deletes an entry; returns whether the key was found."""

    def get_many(self, keys: Iterable[Any], version: Any = None) -> dict[Any, Any]:
        """Returns a dict of the given keys that were found, with their values."""

    def set_many(self, data: Mapping[Any, Any], timeout: Any = ..., version: Any = None) -> list[Any]:
        """Stores every value of a mapping; returns the keys whose values were too large to store."""

    def delete_many(self, keys: Iterable[Any], version: Any = None) -> None:
        """Deletes the entries of the given keys. Keys that are missing are ignored."""

    def clear(self) -> None:
        """Deletes all entries of the cache, including those with another ``KEY_PREFIX`` or version."""

    def ttl(self, key: Any, version: Any = None) -> int | None:
        """Returns the seconds until an entry expires, rounded; 0 if missing, None if it never expires."""

    def pttl(self, key: Any, version: Any = None) -> int | None:
        """Returns the milliseconds until an entry expires; 0 if missing, None if it never expires."""

    def expire(
        self, key: Any, timeout: SupportsFloat | SupportsIndex | timedelta, version: Any = None
    ) -> bool:
        """Lets an entry expire after a number of seconds; returns whether the key was found.

        ``timeout`` may also be a `timedelta`. A timeout of 0 or less deletes the entry.
        """

    def pexpire(
        self, key: Any, timeout: SupportsFloat | SupportsIndex | timedelta, version: Any = None
    ) -> bool:
        """Lets an entry expire after a number of milliseconds; returns whether the key was found.

        ``timeout`` may also be a `timedelta`. A timeout of 0 or less deletes the entry.
        """

    def expire_at(self, key: Any, when: float | datetime, version: Any = None) -> bool:
        """Lets an entry expire at a time; returns whether the key was found.

        ``when`` is in Unix seconds, or a `datetime`; a naive one is in local time. A time in the past deletes
        the entry.
        """

    def pexpire_at(self, key: Any, when: float | datetime, version: Any = None) -> bool:
        """Lets an entry expire at a time in Unix milliseconds, or at a `datetime`; see `expire_at`."""

    def persist(self, key: Any, version: Any = None) -> bool:
        """Removes the expiry of an entry; returns whether the key was found and had one."""

    def iter_keys(self, search: str, itersize: int | None = None, version: Any = None) -> Iterator[str]:
        """Returns an iterator over the keys that match a glob and have this ``KEY_PREFIX`` and version.

        Reads all entries of the cache, about a thousand at a time. ``itersize`` has no effect. Raises
        `ImproperlyConfigured` if the cache has a ``KEY_FUNCTION`` and no ``REVERSE_KEY_FUNCTION``.
        """

    def delete_pattern(self, pattern: str, version: Any = None, itersize: int | None = None) -> int:
        """Deletes the entries whose keys match a glob; returns how many. ``itersize`` has no effect.

        As `delete` does, it also deletes the old values of these keys, and lets no value be stored whose
        computation began before the call.
        """

    def _keys_to_delete(self, pattern: str, version: Any) -> KeyIterator:
        """Returns an iterator over the keys that `delete_pattern` deletes."""

    def _get_early(self, key: Any, version: Any, beta: float) -> _Step | None:
        """Reads a value, and decides whether it is to be computed already; returns None if there is none."""

    def _join(self, key: Any, version: Any, stale: float, within: Flight | None) -> _Step:
        """Joins the flight of a key that was missed.

        ``within`` is the flight that the caller computes for, if any: a wait for one that needs it would not
        end.
        """

    def _overtake(self, key: Any, version: Any) -> _Step:
        """Starts a flight that overtakes the one in progress."""

    def _complete(
        self,
        flight: Flight,
        value: Any,
        timeout: Any,
        jitter: float,
        stale: float,
        cost: float,
        early: float,
    ) -> bool:
        """Ends a flight with its value; returns whether it was stored: not if the flight was overtaken."""

    def _finish(self, flight: Flight, value: Any) -> None:
        """Ends a flight with a value that is not stored."""

    def _outcome(self, wait: FlightWait) -> _Step | None:
        """Returns what a waiter has waited for; None if it is to wait on. Raises the leader's exception."""

    def _outcome_or_wake(self, wait: FlightWait, event_loop: Any, wake: Callable[[], None]) -> _Step | None:
        """Does the same as `_outcome`; if it returns None, ``wake`` will be called in the event loop."""

    def _lead(self, wait: FlightWait, overtakes: bool) -> _Step:
        """Ends a wait: returns what the waiter has waited for, or lets it compute if that is not there yet.

        With ``overtakes``, the value of a waiter that computes is the one that is stored.
        """

    def _count(self, what: Literal["stale_hits", "refreshes", "failed_refreshes"]) -> None:
        """Counts what `get_or_set` did."""

    def _acquire(self, key: Any, token: str, timeout: float | None, version: Any) -> bool:
        """Acquires a lock for a token; returns whether it was free.

        ``timeout`` is in seconds; None means that the lock never expires.
        """

    def _release(self, key: Any, token: str, version: Any) -> bool:
        """Releases a lock; returns whether it was held with this token."""

    def _holds(self, key: Any, token: str, version: Any) -> bool:
        """Returns whether a lock is held with this token."""

    def _extend(self, key: Any, token: str, seconds: float, on_top: bool, version: Any) -> bool:
        """Sets the remaining time of a lock to ``seconds``, or adds them with ``on_top``.

        Returns whether the lock was held with this token.
        """

    def stats(self) -> Stats:
        """Returns the counters, the size and the capacity of the cache."""

    def reset_stats(self) -> None:
        """Sets the counters and the age in `stats` to zero, for all users of the cache. Keeps the entries."""

@final
class Flight:
    """One computation of the value of a key, by the caller that leads. If it is dropped, a waiter leads."""

    def fail(self, raised: BaseException) -> None:
        """Ends the flight with an exception, which the waiters of this process raise, too."""

    def compute_with(self, other: Flight) -> None:
        """Notes that the value is computed with that of another flight, within which the code runs."""

    def needed_by(self, other: Flight) -> None:
        """Notes that the computation of another flight needs this one, so that circles are found."""

    def abandon(self) -> None:
        """Lets a waiter lead. Has no effect if the flight is over."""

@final
class FlightWait:
    """A wait for the value that another caller computes. If it is dropped, it ends."""

    @property
    def looks(self) -> bool:
        """Whether the leader is in another process, which wakes nobody: the waiter has to look often."""

    def sleep(self, seconds: float) -> bool:
        """Blocks the thread for at most so long, without the GIL; returns whether the leader is done."""

    def close(self) -> None:
        """Ends the wait."""

# These three exist on Unix only.
class TieredBackend(Backend):
    """Implements the asynchronous methods of `nearcache.django.TieredCache`.

    Each method begins an operation. It returns the result if it needs no server, else a `Pending`. A method
    that calls one which a subclass overrides returns `NotImplemented`; such methods are typed ``Any``.
    """

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self: ...
    def _start_get(self, key: Any, default: Any, version: Any, fresh: bool) -> Any: ...
    def _start_set(self, key: Any, value: Any, timeout: Any, version: Any, nx: bool, xx: bool) -> Any: ...
    def _start_touch(self, key: Any, timeout: Any, version: Any) -> bool | Pending[bool]: ...
    def _start_has_key(self, key: Any, version: Any) -> bool | Pending[bool]: ...
    def _start_delete(self, key: Any, version: Any) -> Any: ...
    def _start_incr(self, key: Any, delta: Any, version: Any) -> Any: ...
    def _start_get_many(self, keys: Iterable[Any], version: Any) -> Any: ...
    def _start_set_many(self, data: Mapping[Any, Any], timeout: Any, version: Any) -> Any: ...
    def _start_delete_many(self, keys: Iterable[Any], version: Any) -> Any: ...
    def _start_ttl(self, key: Any, version: Any, in_millis: bool) -> int | Pending[int | None] | None: ...
    def _start_expire(
        self, key: Any, timeout: Any, version: Any, in_millis: bool
    ) -> bool | Pending[bool]: ...
    def _start_expire_at(
        self, key: Any, when: Any, version: Any, in_millis: bool
    ) -> bool | Pending[bool]: ...
    def _start_persist(self, key: Any, version: Any) -> bool | Pending[bool]: ...
    def _start_acquire(
        self, key: Any, token: str, timeout: float | None, version: Any
    ) -> bool | Pending[bool]: ...
    def _start_release(self, key: Any, token: str, version: Any) -> bool | Pending[bool]: ...
    def _start_holds(self, key: Any, token: str, version: Any) -> bool | Pending[bool]: ...
    def _start_extend(
        self, key: Any, token: str, seconds: float, on_top: bool, version: Any
    ) -> bool | Pending[bool]: ...
    def _start_get_with_cost(self, key: Any, version: Any) -> Any: ...
    def _early_step(self, key: Any, version: Any, value: Any, beta: float) -> _Step | None:
        """Decides about an early computation, as `_get_early` does, for a value that was read."""

    def _start_join(
        self, key: Any, version: Any, stale: float, within: Flight | None
    ) -> _Step | Pending[_Step]: ...
    def _lock_flight(self, flight: Flight, token: str, seconds: float, overtakes: bool) -> _Step:
        """Asks the server whether this machine computes, for a flight that this process leads."""

    def _start_lock_flight(
        self, flight: Flight, token: str, seconds: float, overtakes: bool
    ) -> _Step | Pending[_Step]: ...
    def _start_complete(
        self,
        flight: Flight,
        value: Any,
        timeout: Any,
        jitter: float,
        stale: float,
        cost: float,
        early: float,
    ) -> bool | Pending[bool]: ...
    def _end_flight(self, flight: Flight, value: Any, is_stored: bool) -> bool:
        """Ends a flight whose value is stored, or not; returns whether it is."""

    def _info(self, section: str) -> list[str]:
        """Returns a section of the server's INFO, once for each primary. Raises if ``ON_ERROR`` does not."""

@final
class Pending(Generic[_T]):
    """An operation that has to ask the server; `Completions.begin` begins it."""

@final
class Completions:
    """Receives the answers for the operations of one event loop."""

    def __new__(cls) -> Self: ...
    def fileno(self) -> int:
        """Returns the file descriptor that is readable while there are answers."""

    def begin(self, pending: Pending[Any], future: Any) -> None:
        """Begins an operation, whose result `finish` will set on a future."""

    def finish(self) -> None:
        """Sets the results of the operations that were answered on their futures."""

@final
class KeyIterator(Iterator[str]):
    """Iterates over the keys that match a glob; created by `Backend.iter_keys`."""

    def __iter__(self) -> KeyIterator: ...
    def __next__(self) -> str: ...
    @property
    def _others(self) -> int:
        """The number of keys left out so far because they have another prefix, version or key function."""

    def _next_some(self) -> list[str] | None:
        """Returns the keys among about the next thousand entries, possibly none; None at the end."""

    def _delete_some(self) -> int | None:
        """Deletes the matching entries among about the next thousand; returns how many. None at the end."""

@final
class Stats:
    """Counters, size and capacity of a cache; returned by ``cache.stats()``.

    The counters start when the cache is created, or at `Backend.reset_stats`. Those of a LocalCache count
    this process, those of a SharedCache all processes. Two are equal if all attributes except ``age`` and
    ``time_saved`` are equal.
    """

    @property
    def hits(self) -> int:
        """Reads that found an entry."""

    @property
    def misses(self) -> int:
        """Reads that found no entry."""

    @property
    def hit_ratio(self) -> float | None:
        """Hits divided by reads, from 0 to 1; None before the first read."""

    @property
    def sets(self) -> int:
        """Values stored."""

    @property
    def deletes(self) -> int:
        """Entries deleted by a caller. Expired entries do not count."""

    @property
    def evictions(self) -> int:
        """Entries evicted because the cache was full. Expired entries do not count."""

    @property
    def expirations(self) -> int:
        """Entries removed because they had expired."""

    @property
    def rejections(self) -> int:
        """Values rejected because they were too large."""

    @property
    def flights(self) -> int:
        """Computations that `Backend.get_or_set` started."""

    @property
    def waits(self) -> int:
        """Calls of `Backend.get_or_set` that waited for another caller's computation."""

    @property
    def stale_hits(self) -> int:
        """Values that `Backend.get_or_set` returned after they had expired."""

    @property
    def refreshes(self) -> int:
        """Computations for keys that still had a value, expired or not."""

    @property
    def failed_refreshes(self) -> int:
        """Such computations that raised an exception, so that the old value was returned."""

    @property
    def time_saved(self) -> float:
        """Seconds that the hits would have taken to compute."""

    @property
    def entries(self) -> int:
        """Entries in the cache now."""

    @property
    def memory(self) -> int:
        """Estimated bytes that the entries use, including keys and metadata."""

    @property
    def max_entries(self) -> int | None:
        """Capacity in entries; None if unlimited."""

    @property
    def max_memory(self) -> int | None:
        """Capacity in bytes; None if unlimited."""

    @property
    def age(self) -> float:
        """Seconds since the counters started."""

    @property
    def unreadable(self) -> int | None:
        """Values that were found but not decoded; they count as misses. SharedCache only, else None."""

    @property
    def recoveries(self) -> int | None:
        """Locks recovered from processes that died while writing. SharedCache only, else None."""

    @property
    def damages(self) -> int | None:
        """Inconsistencies found in the file. SharedCache only, else None."""

    @property
    def timeouts(self) -> int | None:
        """Calls that timed out waiting for the lock of another process. SharedCache only, else None."""

    @property
    def written(self) -> int | None:
        """Bytes written to store entries. SharedCache only, else None."""

    @property
    def moved(self) -> int | None:
        """Bytes copied within the file to keep entries that are read. SharedCache only, else None."""

    @property
    def object_hits(self) -> int | None:
        """Hits of this process that its object cache served. SharedCache only, else None."""

    @property
    def object_entries(self) -> int | None:
        """Values in this process's object cache. SharedCache only, else None."""

    @property
    def object_memory(self) -> int | None:
        """Estimated bytes that they use. SharedCache only, else None."""

    @property
    def remote(self) -> RemoteStats | None:
        """What a TieredCache counts about its two tiers; None for other caches. Not on Windows."""

@final
class RemoteStats:
    """What a TieredCache counts about its two tiers, in this process; ``cache.stats().remote``."""

    @property
    def near_hits(self) -> int:
        """Reads served by a near copy."""

    @property
    def remote_hits(self) -> int:
        """Reads that the server had a value for."""

    @property
    def remote_misses(self) -> int:
        """Reads that no tier had a value for."""

    @property
    def stale_hits(self) -> int:
        """Reads served by a near copy beyond the promise, during an outage (``ON_ERROR`` "stale")."""

    @property
    def ignored_errors(self) -> int:
        """Operations that failed and did not raise, by ``ON_ERROR``."""

    @property
    def fills(self) -> int:
        """Near copies stored."""

    @property
    def refused_unarmed(self) -> int:
        """Near copies not stored: the listener was not armed on the server that answered."""

    @property
    def refused_invalidated(self) -> int:
        """Near copies not stored: the entry was invalidated while it was read."""

    @property
    def refused_excluded(self) -> int:
        """Near copies not stored: ``NEAR_EXCLUDE``, or another prefix than the cache's."""

    @property
    def refused_large(self) -> int:
        """Near copies not stored: too large."""

    @property
    def invalidations(self) -> int:
        """Invalidations that the listener received."""

    @property
    def flushes(self) -> int:
        """How often a server reported that it was flushed."""

    @property
    def losses(self) -> int:
        """How often the listener lost a connection, or the primaries changed."""

    @property
    def epoch(self) -> int:
        """The epoch: raised whenever all copies became invalid."""

    @property
    def confirmation_age(self) -> float | None:
        """Seconds since the newest round that all servers answered was sent; None before the first."""

    @property
    def near_open(self) -> bool:
        """Whether near copies may be served now."""

    @property
    def near_problem(self) -> str | None:
        """Why the near tier does not work; None while it does."""

    @property
    def requests(self) -> int:
        """Requests sent."""

    @property
    def errors(self) -> int:
        """Requests that failed."""

    @property
    def reconnects(self) -> int:
        """Connections opened again after one was lost."""

    @property
    def connections(self) -> int:
        """Connections open now."""

    @property
    def breaker_trips(self) -> int:
        """How often the circuit breaker opened."""

    @property
    def breaker_open(self) -> bool:
        """Whether the circuit breaker is open: calls fail without trying."""
