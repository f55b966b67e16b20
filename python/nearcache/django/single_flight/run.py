"""Runs flows: in a thread, and in a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nearcache.django.single_flight.flow import Flow


def run(call: Any, flow: Flow) -> Any:
    """Runs a flow in this thread; returns its value."""
    try:
        effect = next(flow)
        while True:
            try:
                result = effect.act(call)
            except BaseException as error:
                effect = flow.throw(error)
            else:
                effect = flow.send(result)
    except StopIteration as end:
        return end.value


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
