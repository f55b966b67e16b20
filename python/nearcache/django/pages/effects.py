"""What a flow of a page asks for: see `nearcache.django.single_flight.effects`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nearcache.django.pages.page_flight import page_call
from nearcache.django.single_flight.call import Options, Step
from nearcache.django.single_flight.effects import Join, within

if TYPE_CHECKING:
    from nearcache import _core
    from nearcache.django.backend import Backend
    from nearcache.django.pages.rules import PageRules


class JoinPage(Join):
    """Joins the flight of a key; the result is a step."""

    def __init__(self, backend: Backend, key: str, options: Options) -> None:
        """Accepts a page that is as stale as the options say."""
        self._call = page_call(backend, key, options)

    def act(self, call: Any) -> Step:
        """Joins it in a thread."""
        return super().act(self._call)

    async def aact(self, call: Any) -> Step:
        """Joins it in a task."""
        return await super().aact(self._call)


@dataclass(slots=True, eq=False)
class UseCache:
    """Calls a function that reads or writes the cache; the result is what it returns."""

    function: Callable[[], Any]

    def act(self, rules: PageRules) -> Any:
        """Calls it in a thread."""
        return self.function()

    async def aact(self, rules: PageRules) -> Any:
        """Calls it in a task, or for a task in a thread."""
        return await rules.acall(self.function)


class Render:
    """Calls the view; the result is its response."""

    def __init__(self, view: Callable[[], Any], flight: _core.Flight | None) -> None:
        """Calls it as part of a flight, if there is one."""
        self._view = view
        self._part = nullcontext() if flight is None else within(flight)

    def act(self, call: Any) -> Any:
        """Calls it in a thread."""
        with self._part:
            return self._view()

    async def aact(self, call: Any) -> Any:
        """Calls it in a task."""
        with self._part:
            return await self._view()
