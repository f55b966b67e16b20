"""Locks that are entries of a cache: `lock` and `alock` of our caches make them.

A lock is held while the cache has an entry with its holder's token under its key, which is a key like any
other. So it ends by itself when its timeout is over; and it ends, too, if the entry goes for another reason:
if it is deleted or overwritten, by ``clear()``, or by eviction. Its holder is told of that when it releases
or extends the lock. Where a lock must not be lost for want of room, give locks a cache of their own.
"""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from dataclasses import dataclass
from types import SimpleNamespace, TracebackType
from typing import Any

from nearcache import _core


class LockError(Exception):
    """A lock was not got in time, or is asked for what only its holder may."""


class LockNotOwnedError(LockError):
    """The lock was held, but is no longer: it ran out, was evicted or was taken away."""


@dataclass(frozen=True)
class _Patience:
    """One attempt to acquire a lock."""

    token: str
    sleep: float
    deadline: float

    def next_wait(self) -> float | None:
        """Return for how many seconds to wait before the next try; None if there is to be none."""
        left = self.deadline - time.monotonic()
        return min(self.sleep, left, threading.TIMEOUT_MAX) if left > 0 else None


class _Holding:
    """What both kinds of lock do at once; they differ in how they wait."""

    def __init__(
        self,
        cache: _core.Backend,
        key: Any,
        *,
        version: Any = None,
        timeout: float | None = None,
        sleep: float = 0.1,
        blocking: bool = True,
        blocking_timeout: float | None = None,
    ) -> None:
        self.cache = cache
        self.key = key
        self.version = version
        self.timeout = timeout if timeout is None else _checked("timeout", timeout, zero=False)
        self.sleep = _checked("sleep", sleep)
        self.blocking = blocking
        self.blocking_timeout = blocking_timeout
        if blocking_timeout is not None:
            _checked("blocking_timeout", blocking_timeout)
        # Holds the token, as redis-py's does: assign `local.token` to hand over a lock.
        self.local: Any = SimpleNamespace(token=None)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.key!r} timeout={self.timeout}>"

    @property
    def _token(self) -> str | None:
        """Return the token this lock is held with; None if it is not held."""
        # Another thread has no attribute.
        token = getattr(self.local, "token", None)
        return None if token is None else _as_text(token)

    def _held_token(self, purpose: str) -> str:
        token = self._token
        if token is None:
            raise LockError(f"cannot {purpose} the lock {self.key!r}: it is not held here")
        return token

    def _patience(
        self,
        sleep: float | None,
        blocking: bool | None,
        blocking_timeout: float | None,
        token: str | bytes | None,
    ) -> _Patience:
        """Return how to wait. Arguments that are None are as the lock was made."""
        if blocking_timeout is None:
            blocking_timeout = self.blocking_timeout
        blocking = self.blocking if blocking is None else blocking
        most = math.inf if blocking_timeout is None else _checked("blocking_timeout", blocking_timeout)
        return _Patience(
            token=os.urandom(16).hex() if token is None else _as_text(token),
            sleep=self.sleep if sleep is None else _checked("sleep", sleep),
            deadline=time.monotonic() + most if blocking else -math.inf,
        )

    def _take(self, token: str) -> bool:
        taken = self.cache._acquire(self.key, token, self.timeout, self.version)
        if taken:
            self.local.token = token
        return taken

    def _refused(self) -> LockError:
        return LockError(f"the lock {self.key!r} was not free in time")

    def _lost(self, purpose: str) -> LockNotOwnedError:
        return LockNotOwnedError(
            f"cannot {purpose} the lock {self.key!r}: it ran out, was evicted or was taken away meanwhile"
        )

    def _locked(self) -> bool:
        return self.cache.has_key(self.key, version=self.version)

    def _owned(self) -> bool:
        token = self._token
        return token is not None and self.cache._holds(self.key, token, self.version)

    def _release(self) -> None:
        token = self._held_token("release")
        self.local.token = None
        if not self.cache._release(self.key, token, self.version):
            raise self._lost("release")

    def _extend(self, additional_time: float, *, on_top: bool) -> None:
        token = self._held_token("extend")
        if self.timeout is None:
            raise LockError(f"cannot extend the lock {self.key!r}: it has no timeout")
        seconds = _checked("additional_time", additional_time, zero=False)
        if not self.cache._extend(self.key, token, seconds, on_top, self.version):
            raise self._lost("extend")

    def _reacquire(self) -> None:
        # Without a timeout _extend says what is wrong.
        self._extend(self.timeout or 1, on_top=False)


class Lock(_Holding):
    """A lock for threads, and a context manager that holds it.

    ``timeout`` is how many seconds it is held at most; without one it is held until it is released. Who waits
    asks again every ``sleep`` seconds, for ``blocking_timeout`` seconds at most (None: for ever), or not at
    all if not ``blocking``; these three may be given to `acquire`, too. The thread that acquired it is the
    one to release it, unless ``thread_local`` is False. It is not reentrant.

    Raises `ValueError` for times that are none, and for a key that the cache has no room for; `LockError` on
    entering if it was not free in time, and on leaving if it is not held any more.
    """

    def __init__(self, cache: _core.Backend, key: Any, *, thread_local: bool = True, **options: Any) -> None:
        """Take what `LocalCache.lock` takes."""
        super().__init__(cache, key, **options)
        if thread_local:
            self.local = threading.local()
            self.local.token = None

    def __enter__(self) -> Lock:
        """Acquire the lock. Raises `LockError` if it was not free in time."""
        if not self.acquire():
            raise self._refused()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release the lock. Raises as `release`."""
        self.release()

    def acquire(
        self,
        sleep: float | None = None,
        blocking: bool | None = None,
        blocking_timeout: float | None = None,
        token: str | bytes | None = None,
    ) -> bool:
        """Wait for the lock and take it; return whether it was free in time.

        Arguments that are None are as the lock was made. ``token`` is what to hold the lock with, instead of
        a random one: another process that knows it can assign it to ``local.token`` and release the lock.
        """
        patience = self._patience(sleep, blocking, blocking_timeout, token)
        while not self._take(patience.token):
            seconds = patience.next_wait()
            if seconds is None:
                return False
            time.sleep(seconds)
        return True

    def release(self) -> None:
        """Free the lock. Raises `LockError` if it is not held here, `LockNotOwnedError` if no longer."""
        self._release()

    def extend(self, additional_time: float, replace_ttl: bool = False) -> bool:
        """Add seconds to the time that is left, or replace it by them; return True. Raises as `release`."""
        self._extend(additional_time, on_top=not replace_ttl)
        return True

    def reacquire(self) -> bool:
        """Begin the timeout anew; return True. Raises as `release`."""
        self._reacquire()
        return True

    def locked(self) -> bool:
        """Return whether anybody holds the lock."""
        return self._locked()

    def owned(self) -> bool:
        """Return whether it is held here, still."""
        return self._owned()


class AsyncLock(_Holding):
    """As `Lock`, but awaited, with other tasks running meanwhile; and an asynchronous context manager.

    It belongs to no thread, and not to a task either: make one for each holder, as
    ``async with cache.alock(key)`` does.
    """

    async def __aenter__(self) -> AsyncLock:
        """Acquire the lock. Raises `LockError` if it was not free in time."""
        if not await self.acquire():
            raise self._refused()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release the lock. Raises as `release`."""
        await self.release()

    async def acquire(
        self,
        sleep: float | None = None,
        blocking: bool | None = None,
        blocking_timeout: float | None = None,
        token: str | bytes | None = None,
    ) -> bool:
        """See `Lock.acquire`."""
        patience = self._patience(sleep, blocking, blocking_timeout, token)
        while not self._take(patience.token):
            seconds = patience.next_wait()
            if seconds is None:
                return False
            await asyncio.sleep(seconds)
        return True

    async def release(self) -> None:
        """See `Lock.release`."""
        self._release()

    async def extend(self, additional_time: float, replace_ttl: bool = False) -> bool:
        """See `Lock.extend`."""
        self._extend(additional_time, on_top=not replace_ttl)
        return True

    async def reacquire(self) -> bool:
        """See `Lock.reacquire`."""
        self._reacquire()
        return True

    async def locked(self) -> bool:
        """See `Lock.locked`."""
        return self._locked()

    async def owned(self) -> bool:
        """See `Lock.owned`."""
        return self._owned()


def _as_text(token: str | bytes) -> str:
    """Return a token as text. Text and the bytes it is encoded as are the same token. Raises `TypeError`."""
    if isinstance(token, bytes):
        return token.decode("utf-8", "backslashreplace")
    if not isinstance(token, str):
        raise TypeError(f"token must be a str or bytes, not {token!r} ({type(token).__name__})")
    return token


def _checked(name: str, seconds: float, *, zero: bool = True) -> float:
    """Return a number of seconds, if it is one. Raises `TypeError` and `ValueError`."""
    accepted = f"a number of seconds, {'0 or more' if zero else 'more than 0'}"
    number = None if isinstance(seconds, bool) else _core.real_number(seconds)
    if number is None:
        raise TypeError(f"{name} must be {accepted}, not {seconds!r} ({type(seconds).__name__})")
    if not math.isfinite(number) or number < 0 or (number == 0 and not zero):
        raise ValueError(f"{name} must be {accepted}, not {number}")
    return number
