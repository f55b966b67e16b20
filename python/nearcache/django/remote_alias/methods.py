"""`AliasMethods`: all methods of a `TieredCache` with ``OPTIONS["REMOTE"]``."""

from __future__ import annotations

from nearcache.django.remote_alias.flights import Flights
from nearcache.django.remote_alias.forwarded import Forwarded
from nearcache.django.remote_alias.reads import Reads
from nearcache.django.remote_alias.writes import Writes


class AliasMethods(Reads, Writes, Forwarded, Flights):
    """Defines all methods by those of the remote cache, with near copies before ``get`` and ``get_many``."""
