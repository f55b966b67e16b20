"""Locks that are stored as cache entries: `Lock` and `AsyncLock`, with the interface of redis-py's.

A lock is an entry whose value is the token of the holder. Its key is an ordinary cache key. The lock is held
as long as the entry exists with that token. It is released when the entry expires (the timeout of the lock),
and it is lost if the entry is deleted, overwritten, cleared or evicted. `Lock.release` and `Lock.extend` then
raise `LockNotOwnedError`. If locks must not be evicted, give them a separate cache.
"""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from dataclasses import dataclass
from types import SimpleNamespace, TracebackType
from typing import TYPE_CHECKING, Any

from nearcache import _core

if TYPE_CHECKING:
    from nearcache.django.backend import Backend


class LockError(Exception):
    """A lock was not acquired in time, or an operation needs a lock that is not held."""


class LockNotOwnedError(LockError):
    """The lock was held, but has expired or was evicted, deleted or overwritten."""


@dataclass(frozen=True)
class _Attempt:
    """One call of ``acquire``: the token to hold the lock with, and how long to wait for it."""

    token: str
    sleep: float
    deadline: float

    def next_wait(self) -> float | None:
        """Returns the seconds to wait before the next try, or None if the time to wait is over."""
        left = self.deadline - time.monotonic()
        return min(self.sleep, left, threading.TIMEOUT_MAX) if left > 0 else None


class _LockBase:
    """Implements what `Lock` and `AsyncLock` have in common. They differ only in how they wait."""

    def __init__(
        self,
        cache: Backend,
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
        # Has the token as an attribute, as in redis-py. Assign `local.token` to hand over a lock.
        self.local: Any = SimpleNamespace(token=None)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.key!r} timeout={self.timeout}>"

    @property
    def _token(self) -> str | None:
        """Returns the token of this holder, or None if it does not hold the lock."""
        # In a thread other than the one that created the lock, the attribute is missing.
        token = getattr(self.local, "token", None)
        return None if token is None else _as_text(token)

    def _held_token(self, purpose: str) -> str:
        token = self._token
        if token is None:
            raise LockError(f"cannot {purpose} the lock {self.key!r}: it was not acquired by this caller")
        return token

    def _attempt(
        self,
        sleep: float | None,
        blocking: bool | None,
        blocking_timeout: float | None,
        token: str | bytes | None,
    ) -> _Attempt:
        """Returns the attempt for the arguments of ``acquire``; None means the value given on creation."""
        if blocking_timeout is None:
            blocking_timeout = self.blocking_timeout
        blocking = self.blocking if blocking is None else blocking
        longest = math.inf if blocking_timeout is None else _checked("blocking_timeout", blocking_timeout)
        return _Attempt(
            token=os.urandom(16).hex() if token is None else _as_text(token),
            sleep=self.sleep if sleep is None else _checked("sleep", sleep),
            deadline=time.monotonic() + longest if blocking else -math.inf,
        )

    def _not_acquired(self) -> LockError:
        return LockError(f"could not acquire the lock {self.key!r} in time: another holder has it")

    def _not_owned(self, purpose: str) -> LockNotOwnedError:
        return LockNotOwnedError(
            f"cannot {purpose} the lock {self.key!r}: it has expired or was evicted, deleted or overwritten"
        )

    def _taken_token(self) -> str:
        """Returns the token to release the lock with, which this holder then no longer has."""
        token = self._held_token("release")
        self.local.token = None
        return token

    def _extension(self, additional_time: float) -> tuple[str, float]:
        """Returns the token, and by how many seconds to extend the lock."""
        token = self._held_token("extend")
        if self.timeout is None:
            raise LockError(f"cannot extend the lock {self.key!r}: it has no timeout")
        return token, _checked("additional_time", additional_time, zero=False)

    def _timeout_again(self) -> float:
        """Returns the seconds for ``reacquire``. Without a timeout, `_extension` raises for any number."""
        return self.timeout or 1


class Lock(_LockBase):
    """A lock in a cache, for threads; a context manager. Created by ``cache.lock(key)``. Not reentrant.

    Excludes all users of the cache: with a LocalCache the threads of this process, with a SharedCache all
    processes of the machine.

    - ``timeout``: seconds after which the lock is released by itself; None: never.
    - ``sleep``: seconds between two tries while waiting.
    - ``blocking``: whether `acquire` waits if the lock is taken.
    - ``blocking_timeout``: seconds that `acquire` waits at most; None: without limit.
    - ``thread_local``: whether only the thread that acquired the lock can release it.

    Raises `TypeError` or `ValueError` if one of these numbers is invalid. Entering the context raises
    `LockError` if the lock was not acquired in time; leaving it raises `LockError` if the lock is no longer
    held.
    """

    def __init__(self, cache: Backend, key: Any, *, thread_local: bool = True, **options: Any) -> None:
        """Creates a lock that is not held yet; see ``cache.lock`` for the arguments."""
        super().__init__(cache, key, **options)
        if thread_local:
            self.local = threading.local()
            self.local.token = None

    def __enter__(self) -> Lock:
        """Acquires the lock. Raises `LockError` if it was not acquired in time."""
        if not self.acquire():
            raise self._not_acquired()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Releases the lock. Raises the errors of `release`."""
        self.release()

    def acquire(
        self,
        sleep: float | None = None,
        blocking: bool | None = None,
        blocking_timeout: float | None = None,
        token: str | bytes | None = None,
    ) -> bool:
        """Acquires the lock, waiting for it if necessary; returns whether it was acquired in time.

        An argument that is None has the value given on creation. ``token`` identifies the holder and is
        random by default: another process that knows the token can assign it to ``local.token`` and release
        the lock. Raises `ValueError` if the cache cannot store the entry of the lock.
        """
        attempt = self._attempt(sleep, blocking, blocking_timeout, token)
        while not self.cache._acquire(self.key, attempt.token, self.timeout, self.version):
            seconds = attempt.next_wait()
            if seconds is None:
                return False
            time.sleep(seconds)
        self.local.token = attempt.token
        return True

    def release(self) -> None:
        """Releases the lock.

        Raises `LockError` if the caller has not acquired it, `LockNotOwnedError` if it has lost it.
        """
        token = self._taken_token()
        if not self.cache._release(self.key, token, self.version):
            raise self._not_owned("release")

    def extend(self, additional_time: float, replace_ttl: bool = False) -> bool:
        """Adds seconds to the remaining time, or with ``replace_ttl`` replaces it; returns True.

        Raises `LockError` if the lock is not held or has no timeout, `LockNotOwnedError` if it was lost.
        """
        token, seconds = self._extension(additional_time)
        if not self.cache._extend(self.key, token, seconds, not replace_ttl, self.version):
            raise self._not_owned("extend")
        return True

    def reacquire(self) -> bool:
        """Sets the remaining time to the timeout of the lock; returns True. Raises the errors of `extend`."""
        return self.extend(self._timeout_again(), replace_ttl=True)

    def locked(self) -> bool:
        """Returns whether the lock is held, by the caller or another holder."""
        return self.cache.has_key(self.key, version=self.version)

    def owned(self) -> bool:
        """Returns whether the caller holds the lock."""
        token = self._token
        return token is not None and self.cache._holds(self.key, token, self.version)


class AsyncLock(_LockBase):
    """An asynchronous `Lock`, created by ``cache.alock(key)``. Other tasks run while it waits.

    It is bound neither to a thread nor to a task: every task that uses the object holds the same lock. Create
    one object for each holder, as in ``async with cache.alock(key)``.
    """

    async def __aenter__(self) -> AsyncLock:
        """Acquires the lock. Raises `LockError` if it was not acquired in time."""
        if not await self.acquire():
            raise self._not_acquired()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Releases the lock. Raises the errors of `release`."""
        await self.release()

    async def acquire(
        self,
        sleep: float | None = None,
        blocking: bool | None = None,
        blocking_timeout: float | None = None,
        token: str | bytes | None = None,
    ) -> bool:
        """Asynchronous `Lock.acquire`."""
        attempt = self._attempt(sleep, blocking, blocking_timeout, token)
        while not await self.cache._aacquire(self.key, attempt.token, self.timeout, self.version):
            seconds = attempt.next_wait()
            if seconds is None:
                return False
            await asyncio.sleep(seconds)
        self.local.token = attempt.token
        return True

    async def release(self) -> None:
        """Asynchronous `Lock.release`."""
        token = self._taken_token()
        if not await self.cache._arelease(self.key, token, self.version):
            raise self._not_owned("release")

    async def extend(self, additional_time: float, replace_ttl: bool = False) -> bool:
        """Asynchronous `Lock.extend`."""
        token, seconds = self._extension(additional_time)
        if not await self.cache._aextend(self.key, token, seconds, not replace_ttl, self.version):
            raise self._not_owned("extend")
        return True

    async def reacquire(self) -> bool:
        """Asynchronous `Lock.reacquire`."""
        return await self.extend(self._timeout_again(), replace_ttl=True)

    async def locked(self) -> bool:
        """Asynchronous `Lock.locked`."""
        return await self.cache.ahas_key(self.key, version=self.version)

    async def owned(self) -> bool:
        """Asynchronous `Lock.owned`."""
        token = self._token
        return token is not None and await self.cache._aholds(self.key, token, self.version)


def _as_text(token: str | bytes) -> str:
    """Returns a token as text, so that text and its UTF-8 bytes are the same token. Raises `TypeError`."""
    if isinstance(token, bytes):
        return token.decode("utf-8", "backslashreplace")
    if not isinstance(token, str):
        raise TypeError(f"token is {token!r} ({type(token).__name__}); expected str or bytes")
    return token


def _checked(name: str, seconds: float, *, zero: bool = True) -> float:
    """Returns a number of seconds as a float.

    Raises `TypeError` if it is not a number, `ValueError` if it is negative, not finite, or 0 unless
    ``zero``.
    """
    accepted = f"a number of seconds, {'0 or more' if zero else 'more than 0'}"
    number = None if isinstance(seconds, bool) else _core.real_number(seconds)
    if number is None:
        raise TypeError(f"{name} is {seconds!r} ({type(seconds).__name__}); expected {accepted}")
    if not math.isfinite(number) or number < 0 or (number == 0 and not zero):
        raise ValueError(f"{name} is {number}; expected {accepted}")
    return number
