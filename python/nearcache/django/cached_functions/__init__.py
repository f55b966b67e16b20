"""`cached`, a decorator that keeps the results of a function in a cache.

- `decorator`: `cached` itself and the checks of its arguments.
- `cached_function`: the objects that take the place of the function, and of its bound methods.
- `generated_code`: the Python code of such an object, compiled once for each function. It has the parameters
  of the function, so that the interpreter binds the arguments; a call costs what the same lines would cost if
  the project had written them.
- `key_template`: ``key="user:{user_id}:feed"`` as an expression.
- `argument_encoding`: the encoding of arguments for functions without such a template.
- `long_keys`: keys that a cache may refuse.

**Invariant.** Without a template, two calls of one function have the same key if and only if their bound
arguments have the same types and values.
"""

from nearcache.django.cached_functions.cached_function import (
    BoundCachedCoroutineFunction,
    BoundCachedFunction,
    CachedCoroutineFunction,
    CachedFunction,
)
from nearcache.django.cached_functions.decorator import cached

__all__ = [
    "BoundCachedCoroutineFunction",
    "BoundCachedFunction",
    "CachedCoroutineFunction",
    "CachedFunction",
    "cached",
]
