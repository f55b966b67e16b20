"""The methods of single flight, for threads and for tasks."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, cast

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache

from nearcache import _core
from nearcache.django.get_or_set_options import check_early
from nearcache.django.single_flight.call import CURRENT, LEAD, Call, Options, Step
from nearcache.django.single_flight.flow import get_or_compute, recompute
from nearcache.django.single_flight.many import ManyCall, get_or_compute_many
from nearcache.django.single_flight.run import arun, run
from nearcache.django.single_flight.settings import read_get_or_set, read_jitter

if TYPE_CHECKING:
    from nearcache.django.backend import Backend

_Key = TypeVar("_Key")


class SingleFlight(_core.Backend, BaseCache):
    """Defines ``get_or_set_many`` and the part of ``get_or_set`` that follows a miss.

    ``get_or_set`` itself is in ``nearcache._core``, so that a hit is as fast as ``get``.
    """

    # The defaults of the options, and the two that the extension module needs.
    _get_or_set_options: Options = Options()
    _early: float = 0.0
    _jitter: float = 0.0
    # The methods that Django's get_or_set calls. If others are in their place, so does ours.
    _plain_methods: ClassVar[Mapping[str, Any]] = {
        name: getattr(_core.Backend, name) for name in ("get", "add", "set")
    }

    def _read_flight_options(self, params: Mapping[str, Any]) -> None:
        """Reads the options of single flight from the settings of a cache. Raises `ImproperlyConfigured`."""
        options = params.get("OPTIONS", {})
        self._get_or_set_options = read_get_or_set(options)
        self._early = self._get_or_set_options.early
        self._jitter = read_jitter(options)

    def _get_or_set(  # noqa: PLR0917 (called by the extension module)
        self,
        key: Any,
        default: Any,
        timeout: Any,
        version: Any,
        given: Mapping[str, Any] | None,
        step: Step | None,
    ) -> Any:
        """Continues ``get_or_set`` after a miss, or with the flight of an early computation."""
        if not callable(default):
            if step is not None and step[2] is not None:
                step[1].abandon()
                return step[2][0]
            # As Django does: if another caller added the key first, its value is returned.
            self.add(key, default, timeout=timeout, version=version)
            return self.get(key, default, version=version)
        call = self._call(key, default, timeout, version, given, step)
        if step is None:
            step = self._join(key, version, call.options.stale, CURRENT.get())
        return run(call, get_or_compute(call, step))

    def _call(  # noqa: PLR0917 (those of get_or_set)
        self,
        key: Any,
        default: Any,
        timeout: Any,
        version: Any,
        given: Mapping[str, Any] | None,
        step: Step | None = None,
    ) -> Call:
        """Returns the arguments of a call. If an option is invalid, the step's flight ends, if it has one.

        Otherwise the flight would go on for as long as the traceback of the error exists.
        """
        try:
            options, by_methods = self._options(given)
        except BaseException:
            if step is not None:
                step[1].abandon()
            raise
        return Call(self, key, default, timeout, version, options, by_methods)  # type: ignore[arg-type]

    def _options(self, given: Mapping[str, Any] | None) -> tuple[Options, bool]:
        """Returns the options of a call, and whether it stores and reads by the cache's methods.

        Methods that are overridden may change values, so an old value, which they have not seen, is not used.
        """
        options = self._get_or_set_options
        if given is not None:
            options = options.replaced(given)
        by_methods = self._overrides_storing()
        if by_methods and options.stale:
            options = dataclasses.replace(options, stale=0)
        return options, by_methods

    def _overrides_storing(self) -> bool:
        """Returns whether a subclass overrides ``get``, ``add`` or ``set``, or this instance has its own."""
        kind, own, plain = type(self), vars(self), self._plain_methods
        return (
            kind.get is not plain["get"]
            or kind.add is not plain["add"]
            or kind.set is not plain["set"]
            or "get" in own
            or "add" in own
            or "set" in own
        )

    def get_or_set_many(
        self,
        keys: Iterable[_Key],
        default_many: Callable[[list[_Key]], Mapping[_Key, Any]],
        timeout: Any = DEFAULT_TIMEOUT,
        version: Any = None,
        *,
        stale: float | None = None,
        refresh: Literal["caller", "background"] | None = None,
        early: float | None = None,
        jitter: float | None = None,
        lock_timeout: float | None = None,
        store_if: Callable[[Any], bool] | None = None,
        distributed: bool | None = None,
    ) -> dict[_Key, Any]:
        """Returns the values of several keys; computes the missing ones with one call of ``default_many``.

        ``default_many`` gets a list of keys and returns a mapping with their values; a key that it leaves out
        is left out of the result. Each key has single flight of its own: a key that another caller is
        computing is waited for. The other arguments are those of ``get_or_set``, except that ``early`` has no
        effect.
        """
        given = {
            "stale": stale,
            "refresh": refresh,
            "early": early,
            "jitter": jitter,
            "lock_timeout": lock_timeout,
            "store_if": store_if,
            "distributed": distributed,
        }
        call = self._many_call(keys, default_many, timeout, version, given)
        found = dict(self.get_many(call.keys, version=version))
        values: dict[_Key, Any] = run(call, get_or_compute_many(call, found))
        return values

    def _many_call(
        self, keys: Iterable[Any], default_many: Any, timeout: Any, version: Any, given: Mapping[str, Any]
    ) -> ManyCall:
        options, by_methods = self._options(given)
        # Each key once, in order.
        distinct = list(dict.fromkeys(keys))
        return ManyCall(cast("Backend", self), distinct, default_many, timeout, version, options, by_methods)

    def _refresh(
        self,
        key: Any,
        default: Callable[[], Any],
        timeout: Any = DEFAULT_TIMEOUT,
        version: Any = None,
        **given: Any,
    ) -> Any:
        """Computes and stores a value even if the key has one; returns it. Overtakes a flight in progress."""
        call = self._call(key, default, timeout, version, given)
        _, flight, _ = self._overtake(key, version)
        return run(call, recompute(call, flight))


class AsyncSingleFlight(SingleFlight):
    """Defines the asynchronous methods of single flight. A task that waits never blocks the event loop."""

    async def aget_or_set(
        self,
        key: Any,
        default: Any,
        timeout: Any = DEFAULT_TIMEOUT,
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
        """Asynchronous ``get_or_set``. Awaits ``default`` if it is, or returns, an awaitable."""
        step = None
        beta = self._early if early is None else check_early("early", early)
        if beta and not self._overrides_storing():
            step = await self._aget_early(key, version, beta)
            if step is not None and step[0] != LEAD:
                return step[1]
        else:
            value = await self.aget(key, self._missing_key, version=version)
            if value is not self._missing_key:
                return value
        given = {
            "stale": stale,
            "refresh": refresh,
            "early": early,
            "jitter": jitter,
            "lock_timeout": lock_timeout,
            "store_if": store_if,
            "distributed": distributed,
        }
        if inspect.isawaitable(default):
            call = self._call(key, lambda: default, timeout, version, given, step)
        elif callable(default):
            call = self._call(key, default, timeout, version, given, step)
        else:
            if step is not None and step[2] is not None:
                step[1].abandon()
                return step[2][0]
            await self.aadd(key, default, timeout=timeout, version=version)
            return await self.aget(key, default, version=version)
        if step is None:
            step = await self._ajoin(key, version, call.options.stale, CURRENT.get())
        return await arun(call, get_or_compute(call, step))

    async def aget_or_set_many(
        self,
        keys: Iterable[_Key],
        default_many: Callable[[list[_Key]], Any],
        timeout: Any = DEFAULT_TIMEOUT,
        version: Any = None,
        *,
        stale: float | None = None,
        refresh: Literal["caller", "background"] | None = None,
        early: float | None = None,
        jitter: float | None = None,
        lock_timeout: float | None = None,
        store_if: Callable[[Any], bool] | None = None,
        distributed: bool | None = None,
    ) -> dict[_Key, Any]:
        """Asynchronous `get_or_set_many`. Awaits what ``default_many`` returns, if that is an awaitable."""
        given = {
            "stale": stale,
            "refresh": refresh,
            "early": early,
            "jitter": jitter,
            "lock_timeout": lock_timeout,
            "store_if": store_if,
            "distributed": distributed,
        }
        call = self._many_call(keys, default_many, timeout, version, given)
        found = dict(await self.aget_many(call.keys, version=version))
        values: dict[_Key, Any] = await arun(call, get_or_compute_many(call, found))
        return values

    async def _arefresh(
        self,
        key: Any,
        default: Callable[[], Any],
        timeout: Any = DEFAULT_TIMEOUT,
        version: Any = None,
        **given: Any,
    ) -> Any:
        """Asynchronous `_refresh`."""
        call = self._call(key, default, timeout, version, given)
        _, flight, _ = await self._aovertake(key, version)
        return await arun(call, recompute(call, flight))

    # These may wait for a server in a TieredCache.

    async def _aget_early(self, key: Any, version: Any, beta: float) -> Step | None:
        return self._get_early(key, version, beta)

    async def _ajoin(self, key: Any, version: Any, stale: float, within: _core.Flight | None) -> Step:
        return self._join(key, version, stale, within)

    async def _aovertake(self, key: Any, version: Any) -> Step:
        return self._overtake(key, version)

    async def _acomplete(  # noqa: PLR0917 (the arguments of _complete)
        self,
        flight: _core.Flight,
        value: Any,
        timeout: Any,
        jitter: float,
        stale: float,
        cost: float,
        early: float,
    ) -> bool:
        return self._complete(flight, value, timeout, jitter, stale, cost, early)

    # With ``distributed``, only a TieredCache asks its server.

    def _lock_flight(self, flight: _core.Flight, token: str, seconds: float, overtakes: bool) -> Step:
        return (LEAD, None, None)

    async def _alock_flight(self, flight: _core.Flight, token: str, seconds: float, overtakes: bool) -> Step:
        return (LEAD, None, None)
