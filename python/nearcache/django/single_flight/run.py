"""Runs flows: in a thread, and in a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nearcache.django.single_flight.flow import Flow


class Stopped(Exception):  # noqa: N818 (not an error)
    """Carries a `StopIteration` of a computation through a generator, which would replace it."""

    def __init__(self, stop: StopIteration) -> None:
        """Wraps an exception."""
        super().__init__(stop)
        self.stop = stop


def raised_by(error: BaseException) -> BaseException:
    """Returns what a computation raised, from what a flow caught."""
    return error.stop if isinstance(error, Stopped) else error


def run(call: Any, flow: Flow) -> Any:
    """Runs a flow in this thread; returns its value."""
    try:
        effect = next(flow)
        while True:
            try:
                result = effect.act(call)
            except StopIteration as stop:
                effect = flow.throw(Stopped(stop))
            except BaseException as error:
                effect = flow.throw(error)
            else:
                effect = flow.send(result)
    except StopIteration as end:
        # CPython 3.10 may keep this frame until it collects garbage. It is not to keep what is returned: a
        # response that is dropped ends its flight.
        effect = result = None  # type: ignore[assignment]
        return end.value
    except Stopped as stopped:
        raise stopped.stop from None


async def arun(call: Any, flow: Flow) -> Any:
    """Runs a flow in this task; returns its value."""
    try:
        effect = next(flow)
        while True:
            try:
                result = await effect.aact(call)
            except BaseException as error:
                effect = flow.throw(error)
            else:
                effect = flow.send(result)
    except StopIteration as end:
        return end.value
