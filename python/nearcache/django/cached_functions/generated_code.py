"""Generates the code of a cached function: the call, `key`, `invalidate` and `refresh`.

Each has the parameters of the function itself, so the interpreter binds the arguments, applies the defaults,
and raises the usual `TypeError` for wrong ones. That is much faster than `inspect.Signature.bind`.
"""

from __future__ import annotations

import ast
import inspect
import string
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nearcache.django.backend import Backend
from nearcache.django.cached_functions import long_keys, lookup, typed_key
from nearcache.django.cached_functions.argument_encoding import UnencodableError
from nearcache.django.cached_functions.function_names import shown_name
from nearcache.django.proxy import caches

# $KEY stands for the expression of the key, and $_ for the prefix of every name of ours.
_SOURCE = string.Template("""
def key($parameters):
    try:
        ${_}key = $KEY
    except ${_}key_error:
        raise ${_}explain(${_}function, ${_}locals()) from None
    return ${_}hashed(${_}key) if $is_refused else ${_}key

$define call($parameters):
    try:
        ${_}key = $KEY
    except ${_}key_error:
        raise ${_}explain(${_}function, ${_}locals()) from None
    if $is_refused:
        ${_}key = ${_}hashed(${_}key)
    ${_}cache = ${_}caches[${_}alias]
    if not ${_}isinstance(${_}cache, ${_}Backend):
        raise ${_}not_ours(${_}alias, ${_}cache)
    return $wait ${_}cache.${a}get_or_set(
        ${_}key, lambda: ${_}function($arguments), ${_}timeout, ${_}version, $options
    )

$define refresh($parameters):
    return $wait ${_}backend_of(${_}alias)._${a}refresh(
        ${_}make_key($arguments), lambda: ${_}function($arguments), ${_}timeout, ${_}version, $options
    )

$define invalidate($parameters):
    return $wait ${_}backend_of(${_}alias).${a}delete(${_}make_key($arguments), ${_}version)
""")

# Conditions on a key. One of encodings is printable ASCII. One from a template may be any text, even one that
# looks like a hashed key.
_ENCODINGS_ARE_REFUSED = '${_}len(${_}key) > ${_}max_length or " " in ${_}key'
_TEXT_IS_REFUSED = (
    f"{_ENCODINGS_ARE_REFUSED} or not ${{_}}key.isascii() or not ${{_}}key.isprintable()"
    f" or ({long_keys.MARK!r} in ${{_}}key and ${{_}}looks_hashed(${{_}}key))"
)

_STARS: Mapping[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}

_NAMES: Mapping[str, Any] = {
    "Backend": Backend,
    "backend_of": lookup.backend_of,
    "caches": caches,
    "explain": typed_key.explain,
    "hashed": long_keys.hashed,
    "isinstance": isinstance,
    "len": len,
    "looks_hashed": long_keys.looks_hashed,
    "locals": locals,
    "max_length": long_keys.MAX_LENGTH,
    "not_ours": lookup.not_ours,
    **typed_key.NAMES,
}


def free_prefix(signature: inspect.Signature) -> str:
    """Returns underscores that no parameter begins with."""
    prefix = "_"
    while any(name.startswith(prefix) for name in signature.parameters):
        prefix += "_"
    return prefix


@dataclass(frozen=True)
class Code:
    """What the generated functions depend on."""

    function: Callable[..., Any]
    signature: inspect.Signature
    prefix: str
    # The expression of the key over the parameters, and whether it is that of a template.
    key: ast.expr
    is_template: bool
    is_coroutine: bool
    # The options of `get_or_set` that were given.
    options: Mapping[str, Any]

    def compiled(self, **names: Any) -> dict[str, Callable[..., Any]]:
        """Returns the functions ``call``, ``key``, ``refresh`` and ``invalidate``.

        ``names`` has the ``alias``, ``timeout`` and ``version``.
        """
        names |= {
            **_NAMES,
            "function": self.function,
            "key_error": () if self.is_template else UnencodableError,
            **{f"option_{name}": value for name, value in self.options.items()},
        }
        space: dict[str, Any] = {f"{self.prefix}{name}": value for name, value in names.items()}
        space["__name__"] = self.function.__module__
        tree = _PutKey(f"{self.prefix}expression", self.key).visit(ast.parse(self._source()))
        ast.fix_missing_locations(tree)
        exec(compile(tree, f"<@cached {shown_name(self.function)}>", "exec"), space)
        space[f"{self.prefix}make_key"] = space["key"]
        functions = {name: space[name] for name in ("call", "key", "refresh", "invalidate")}
        for name, generated in functions.items():
            self._finish(generated, name)
        return functions

    def _source(self) -> str:
        parameters = self.signature.parameters.values()
        is_refused = _TEXT_IS_REFUSED if self.is_template else _ENCODINGS_ARE_REFUSED
        return _SOURCE.substitute(
            _=self.prefix,
            KEY=f"{self.prefix}expression",
            define="async def" if self.is_coroutine else "def",
            wait="await" if self.is_coroutine else "",
            a="a" if self.is_coroutine else "",
            is_refused=string.Template(is_refused).substitute(_=self.prefix),
            parameters=", ".join(_parameters(parameters)),
            arguments=", ".join(_arguments(parameters)),
            options=", ".join(f"{name}={self.prefix}option_{name}" for name in self.options),
        )

    def _finish(self, generated: Any, name: str) -> None:
        """Gives a generated function the defaults of the function, and a name and signature."""
        given = [one for one in self.signature.parameters.values() if one.default is not one.empty]
        by_name = [one for one in given if one.kind == one.KEYWORD_ONLY]
        generated.__defaults__ = tuple(one.default for one in given if one not in by_name)
        generated.__kwdefaults__ = {one.name: one.default for one in by_name}
        own = getattr(self.function, "__qualname__", "cached")
        generated.__qualname__ = own if name == "call" else f"{own}.{name}"
        generated.__name__ = own.rpartition(".")[2] if name == "call" else name
        returned = {"key": str, "invalidate": bool}.get(name, self.signature.return_annotation)
        generated.__signature__ = self.signature.replace(return_annotation=returned)


class _PutKey(ast.NodeTransformer):
    """Replaces a name by the expression of the key."""

    def __init__(self, name: str, key: ast.expr) -> None:
        self.name = name
        self.key = key

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Returns the expression for its placeholder, and any other name as it is."""
        return self.key if node.id == self.name else node


def _parameters(parameters: Iterable[inspect.Parameter]) -> Iterator[str]:
    """Yields the parts of a parameter list. `Code._finish` puts the defaults in place of None."""
    previous = None
    for one in parameters:
        if previous == one.POSITIONAL_ONLY != one.kind:
            yield "/"
        if one.kind == one.KEYWORD_ONLY and previous not in {one.VAR_POSITIONAL, one.KEYWORD_ONLY}:
            yield "*"
        yield _STARS.get(one.kind, "") + one.name + ("" if one.default is one.empty else "=None")
        previous = one.kind
    if previous == inspect.Parameter.POSITIONAL_ONLY:
        yield "/"


def _arguments(parameters: Iterable[inspect.Parameter]) -> Iterator[str]:
    """Yields the arguments that pass on every parameter."""
    for one in parameters:
        name_first = f"{one.name}=" if one.kind == one.KEYWORD_ONLY else ""
        yield name_first + _STARS.get(one.kind, "") + one.name
