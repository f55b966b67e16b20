"""`cached`, and the checks of what it is given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from asgiref.sync import iscoroutinefunction
from django.core.cache import DEFAULT_CACHE_ALIAS
from django.core.cache.backends.base import DEFAULT_TIMEOUT

from nearcache import _core
from nearcache.django.cached_functions.cached_function import CachedCoroutineFunction, CachedFunction
from nearcache.django.cached_functions.function_names import shown_name
from nearcache.django.cached_functions.generated_code import Code, free_prefix
from nearcache.django.cached_functions.key_template import KeyTemplate
from nearcache.django.cached_functions.typed_key import typed_key
from nearcache.django.get_or_set_options import check_options
from nearcache.django.signatures import signature_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from nearcache.django.cached_functions.cached_function import (
        CachedClassMethod,
        CachedCoroutineClassMethod,
    )
    from nearcache.django.get_or_set_options import GetOrSetOptions

_P = ParamSpec("_P")
_R = TypeVar("_R")
_T = TypeVar("_T")


class _Decorator(Protocol):
    """The type of ``cached(timeout=60)``."""

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[Concatenate[type[_T], _P], Coroutine[Any, Any, _R]], /
    ) -> CachedCoroutineClassMethod[_T, _P, _R]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[type[_T], _P], _R], /
    ) -> CachedClassMethod[_T, _P, _R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[_P, Coroutine[Any, Any, _R]], /
    ) -> CachedCoroutineFunction[_P, _R]: ...
    @overload
    def __call__(self, function: Callable[_P, _R], /) -> CachedFunction[_P, _R]: ...


@overload
def cached(  # type: ignore[overload-overlap]
    function: Callable[Concatenate[type[_T], _P], Coroutine[Any, Any, _R]], /
) -> CachedCoroutineClassMethod[_T, _P, _R]: ...
@overload
def cached(function: Callable[Concatenate[type[_T], _P], _R], /) -> CachedClassMethod[_T, _P, _R]: ...
@overload
def cached(  # type: ignore[overload-overlap]
    function: Callable[_P, Coroutine[Any, Any, _R]], /
) -> CachedCoroutineFunction[_P, _R]: ...
@overload
def cached(function: Callable[_P, _R], /) -> CachedFunction[_P, _R]: ...
@overload
def cached(
    *,
    timeout: float | None = ...,
    key: str | None = None,
    cache: str = DEFAULT_CACHE_ALIAS,
    version: Any = None,
    **options: Unpack[GetOrSetOptions],
) -> _Decorator: ...
def cached(
    function: Any = None,
    /,
    *,
    timeout: Any = DEFAULT_TIMEOUT,
    key: str | None = None,
    cache: str = DEFAULT_CACHE_ALIAS,
    version: Any = None,
    **options: Any,
) -> Any:
    """Keeps the results of a function, method or coroutine function in a cache; a decorator.

    - ``timeout``: seconds that a result is kept; by default the ``TIMEOUT`` of the cache. None: no expiry.
    - ``key``: a format string over the arguments, such as ``"user:{user_id}:feed"``. By default the key is
      made of the module and name of the function, and of the types and values of all arguments.
    - ``cache``: the alias of the cache in ``CACHES``, one of nearcache's.
    - ``version``: the version of the key.
    - ``options``: the options of ``get_or_set``, such as ``stale``.

    May be used without parentheses. Raises `TypeError` or `ValueError` if an argument is invalid, or if
    the results cannot be kept, as is true of generators.
    """
    _check_arguments(timeout, key, cache)
    given = check_options(options)

    def decorate(decorated: Any) -> Any:
        is_descriptor = isinstance(decorated, (staticmethod, classmethod))
        function = decorated.__func__ if is_descriptor else decorated
        _check_function(function)
        is_coroutine = iscoroutinefunction(function)
        code = _code(function, key, is_coroutine, given)
        kind = CachedCoroutineFunction if is_coroutine else CachedFunction
        return kind(decorated, code.compiled(alias=cache, timeout=timeout, version=version))

    return decorate if function is None else decorate(function)


def _check_arguments(timeout: Any, key: Any, cache: Any) -> None:
    is_number = not isinstance(timeout, bool) and _core.real_number(timeout) is not None
    if timeout is not None and timeout is not DEFAULT_TIMEOUT and not is_number:
        raise _wrong("timeout", timeout, "a number of seconds, or None")
    if key is not None and not isinstance(key, str):
        raise _wrong("key", key, "a format string, or None")
    if not isinstance(cache, str):
        raise _wrong("cache", cache, "an alias in CACHES, such as 'default'")


def _wrong(name: str, value: object, accepted: str) -> TypeError:
    return TypeError(f"@cached: {name} is {value!r} ({type(value).__name__}); expected {accepted}")


def _check_function(function: Any) -> None:
    """Raises `TypeError` if the results of an object cannot be cached."""
    if isinstance(function, type):
        raise TypeError(f"@cached: {shown_name(function)} is a class; expected a function or method")
    if not callable(function):
        raise TypeError(
            f"@cached: {function!r} ({type(function).__name__}) is not a function; options need their names, "
            "as in @cached(timeout=60)"
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"@cached: {shown_name(function)} is a generator function, whose result can be read only once; "
            "expected a function that returns its result, such as a list"
        )


def _code(function: Any, key: str | None, is_coroutine: bool, options: Mapping[str, Any]) -> Code:
    """Returns the code of a function with a template of a key, or with typed keys if that is None."""
    signature = signature_of(function)
    prefix = free_prefix(signature)
    if key is None:
        expression = typed_key(function, signature, prefix)
    else:
        expression = KeyTemplate(key, list(signature.parameters), shown_name(function)).expression
    return Code(function, signature, prefix, expression, key is not None, is_coroutine, options)
