"""The exceptions of a `TieredCache` whose server fails: `RemoteError` and its subclasses."""

from __future__ import annotations


class RemoteError(Exception):
    """A request to the server of a `TieredCache` failed. The base class of the others."""


class RemoteConnectionError(RemoteError, ConnectionError):
    """The server cannot be reached, or the connection broke. A write may have been executed."""


class RemoteTimeoutError(RemoteError, TimeoutError):
    """The server did not answer in time. A write may have been executed."""


class RemoteAuthenticationError(RemoteError):
    """The server refused the user name or password, or the user may not execute the command."""


class RemoteResponseError(RemoteError):
    """The server answered with an error."""


class RemoteReadOnlyError(RemoteResponseError):
    """The server is a replica, which accepts no writes."""
