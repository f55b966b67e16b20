from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from typing_extensions import Self

_P = ParamSpec("_P")
_Q = ParamSpec("_Q")
_R = TypeVar("_R")
_S = TypeVar("_S")
_T = TypeVar("_T")

class _Callable(Generic[_P, _R]):
    __name__: str
    __qualname__: str
    __wrapped__: Callable[_P, _R]

    @property
    def uncached(self) -> Callable[_P, _R]:
        """The function itself."""

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Returns the result for these arguments, from the cache if it has one."""

    def key(self, *args: _P.args, **kwargs: _P.kwargs) -> str:
        """Returns the key for these arguments."""

    def refresh(self, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Computes the result for these arguments now, stores it and returns it."""

class _Bound(_Callable[_P, _R]):
    __func__: Callable[..., Any]
    __self__: object

    def __init__(self, function: Callable[..., Any], instance: object) -> None: ...

class _Unbound(_Callable[_P, _R]):
    def __init__(self, decorated: object, generated: Mapping[str, Callable[..., Any]]) -> None: ...

class BoundCachedFunction(_Bound[_P, _R]):
    """A `CachedFunction` that is bound to an object, as its method."""

    def invalidate(self, *args: _P.args, **kwargs: _P.kwargs) -> bool:
        """Deletes the result for these arguments; returns whether there was one."""

class BoundCachedCoroutineFunction(_Bound[_P, Coroutine[Any, Any, _R]]):
    """A `CachedCoroutineFunction` that is bound to an object, as its method."""

    async def invalidate(self, *args: _P.args, **kwargs: _P.kwargs) -> bool:
        """Deletes the result for these arguments; returns whether there was one."""

class CachedFunction(_Unbound[_P, _R]):
    """A function whose results are kept in a cache. Made by `cached`."""

    def invalidate(self, *args: _P.args, **kwargs: _P.kwargs) -> bool:
        """Deletes the result for these arguments; returns whether there was one."""

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(
        self: CachedFunction[Concatenate[Any, _Q], _S], instance: object, owner: type | None = None
    ) -> BoundCachedFunction[_Q, _S]: ...

class CachedCoroutineFunction(_Unbound[_P, Coroutine[Any, Any, _R]]):
    """A coroutine function whose results are kept in a cache. Made by `cached`."""

    async def invalidate(self, *args: _P.args, **kwargs: _P.kwargs) -> bool:
        """Deletes the result for these arguments; returns whether there was one."""

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(
        self: CachedCoroutineFunction[Concatenate[Any, _Q], _S], instance: object, owner: type | None = None
    ) -> BoundCachedCoroutineFunction[_Q, _S]: ...

# What type checkers take for a classmethod: a function whose first parameter is a class.
class CachedClassMethod(_Unbound[Concatenate[type[_T], _P], _R], Generic[_T, _P, _R]):
    def invalidate(self, owner: type[_T], /, *args: _P.args, **kwargs: _P.kwargs) -> bool:
        """Deletes the result for these arguments; returns whether there was one."""

    def __get__(self, instance: object, owner: type[_T] | None = None) -> BoundCachedFunction[_P, _R]: ...

class CachedCoroutineClassMethod(
    _Unbound[Concatenate[type[_T], _P], Coroutine[Any, Any, _R]], Generic[_T, _P, _R]
):
    async def invalidate(self, owner: type[_T], /, *args: _P.args, **kwargs: _P.kwargs) -> bool:
        """Deletes the result for these arguments; returns whether there was one."""

    def __get__(
        self, instance: object, owner: type[_T] | None = None
    ) -> BoundCachedCoroutineFunction[_P, _R]: ...
