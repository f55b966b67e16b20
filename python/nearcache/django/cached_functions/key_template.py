"""Templates of keys, such as ``"user:{user_id}:feed"``: format strings over the arguments of a function."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Collection

# A name, and the attributes and items that are taken from it.
_FIELD = re.compile(r"(\w+)((?:\.\w+|\[[^\]]+\])*)")
_STEP = re.compile(r"\.(\w+)|\[([^\]]+)\]")


class KeyTemplate:
    """A format string, compiled for the parameters of one function."""

    def __init__(self, text: str, parameters: Collection[str], function: str) -> None:
        """Parses the template. Raises `TypeError` or `ValueError`, which name the template."""
        self.text = text
        self.parameters = parameters
        self.function = function
        self.expression = self._parsed(text)

    def _parsed(self, text: str) -> ast.JoinedStr:
        """Returns the f-string that does what ``text.format(...)`` would do."""
        parts: list[ast.expr] = []
        try:
            fields = list(string.Formatter().parse(text))
        except ValueError as error:
            raise ValueError(f"@cached: key is {self.text!r}: {error}; expected a format string") from error
        for literal, field, spec, conversion in fields:
            if literal:
                parts.append(ast.Constant(literal))
            if field is not None:
                parts.append(self._formatted(field, spec or "", conversion))
        return ast.JoinedStr(parts)

    def _formatted(self, field: str, spec: str, conversion: str | None) -> ast.FormattedValue:
        if conversion not in {None, "r", "s", "a"}:
            raise ValueError(
                f"@cached: key is {self.text!r}: !{conversion} is unknown; expected !r, !s or !a"
            )
        return ast.FormattedValue(
            self._value(field), ord(conversion) if conversion else -1, self._parsed(spec) if spec else None
        )

    def _value(self, field: str) -> ast.expr:
        """Returns the expression of a field such as ``user.pk``."""
        found = _FIELD.fullmatch(field)
        if found is None or found[1] not in self.parameters:
            accepted = ", ".join(self.parameters) or "none"
            raise TypeError(
                f"@cached: key is {self.text!r}, but {self.function} has no argument "
                f"{found[1] if found else field!r}; its arguments are: {accepted}"
            )
        value: ast.expr = ast.Name(found[1], ast.Load())
        for attribute, item in _STEP.findall(found[2]):
            if attribute:
                value = ast.Attribute(value, attribute, ast.Load())
            else:
                # As in `str.format`, digits are an index, and all else is text.
                index = ast.Constant(int(item) if item.isdecimal() else item)
                value = ast.Subscript(value, index, ast.Load())
        return value
