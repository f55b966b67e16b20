"""What happens around every call of the remote cache.

`Tolerated` and `Write` are the contexts of a call. `read`, `write` and `write_all` make a method that passes
its arguments on to the method of the same name of the remote cache, in such a context::

    touch = write(SyncMethods.touch, otherwise=bool)
    atouch = write(AsyncMethods.atouch, otherwise=bool)

The new method has the signature, the annotations and the documentation of the given one, and is a coroutine
function if that is one. If ``ON_ERROR`` hides a failure, the result is that of ``otherwise()``: ``bool()`` is
False.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable
from functools import wraps
from pickle import PicklingError
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from nearcache.django.remote_alias.near import near_key
from nearcache.django.signatures import signature_of

if TYPE_CHECKING:
    from nearcache.django.remote_alias.base import AliasBase

_Method = TypeVar("_Method", bound=Callable[..., Any])
_LOG = logging.getLogger("nearcache")
_SECONDS_BETWEEN_WARNINGS = 60
_WARNED_AT: dict[str, float] = {}
# The caller's mistakes, which ON_ERROR "miss" does not hide. Pickling a local class is an AttributeError.
_MISTAKES = (TypeError, ValueError, AttributeError, NotImplementedError, PicklingError)


class Tolerated:
    """A context in which ``ON_ERROR`` "miss" hides the failures of the remote cache."""

    def __init__(self, cache: AliasBase) -> None:
        """Takes the ``ON_ERROR`` of a cache."""
        self._cache = cache

    def __enter__(self) -> None:
        """Does nothing."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Returns whether the failure is hidden, and logs it."""
        if not isinstance(error, Exception) or isinstance(error, _MISTAKES):
            return False
        if self._cache._on_error == "raise":
            return False
        _warn_of_failure(self._cache._remote_alias, error)
        return True


class Write(Tolerated):
    """A write, which deletes near copies before and after, also if it fails. None means all copies."""

    def __init__(self, cache: AliasBase, near_keys: list[str] | None) -> None:
        """Takes the near keys that the write changes."""
        super().__init__(cache)
        self._near_keys = near_keys

    def __enter__(self) -> None:
        """Deletes the copies, and keeps reads that are under way from storing theirs."""
        self._drop()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Deletes copies that were stored meanwhile; returns whether the failure is hidden."""
        self._drop()
        return super().__exit__(kind, error, traceback)

    def _drop(self) -> None:
        if self._near_keys is None:
            self._cache._near.clear()
        else:
            self._cache._near.drop(self._near_keys)


def _warn_of_failure(alias: str, error: Exception) -> None:
    """Logs a failure that ``ON_ERROR`` hides, not more than once in a minute."""
    now = time.monotonic()
    if now - _WARNED_AT.get(alias, -_SECONDS_BETWEEN_WARNINGS) >= _SECONDS_BETWEEN_WARNINGS:
        _WARNED_AT[alias] = now
        _LOG.warning(
            "nearcache: CACHES[%r], the remote tier of a TieredCache, failed: %s: %s. Its entries are "
            'treated as missing, because OPTIONS["ON_ERROR"] is "miss".',
            alias,
            type(error).__name__,
            error,
        )


def read(method: _Method, otherwise: Callable[[], Any]) -> _Method:
    """Returns a method that leaves the near copies as they are."""
    return _forwarding(method, otherwise, lambda cache, _args, _options: Tolerated(cache))


def write(method: _Method, otherwise: Callable[[], Any]) -> _Method:
    """Returns a method that deletes the near copy of the key that it is called with."""
    version_at = list(signature_of(method).parameters).index("version") - 1  # without self

    def context(cache: AliasBase, args: tuple[Any, ...], options: dict[str, Any]) -> Write:
        key = args[0] if args else options.get("key")
        version = args[version_at] if len(args) > version_at else options.get("version")
        return Write(cache, [near_key(cache._remote, key, version)])

    return _forwarding(method, otherwise, context)


def write_all(method: _Method, otherwise: Callable[[], Any]) -> _Method:
    """Returns a method that deletes all near copies."""
    return _forwarding(method, otherwise, lambda cache, _args, _options: Write(cache, None))


def _forwarding(
    method: _Method,
    otherwise: Callable[[], Any],
    context: Callable[[AliasBase, tuple[Any, ...], dict[str, Any]], Tolerated],
) -> _Method:
    name = method.__name__
    made: Callable[..., Any]
    if inspect.iscoroutinefunction(method):

        async def made(cache: AliasBase, /, *args: Any, **options: Any) -> Any:
            remote_method = cache._async_remote_method(name.removeprefix("a"))
            with context(cache, args, options):
                return await remote_method(*args, **options)
            return otherwise()

    else:

        def made(cache: AliasBase, /, *args: Any, **options: Any) -> Any:
            remote_method = cache._remote_method(name)
            with context(cache, args, options):
                return remote_method(*args, **options)
            return otherwise()

    return cast("_Method", wraps(method)(made))
