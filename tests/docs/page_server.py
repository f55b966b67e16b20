"""The server of the pages whose settings have a TieredCache."""

import copy

from nearcache.django.tiered import TieredCache
from nearcache.django.tiered_options import NAMES, SYNONYMS

# What leads to the server of the page and not to ours.
CONNECTION = {"DB", "USERNAME", "PASSWORD", "TLS_CA", "TLS_CERT", "TLS_KEY", "TLS_VERIFY"}
NEAR_MEMORY = 2 * 1024**2


class PageServer:
    """A Redis or Valkey server, which starts when a page needs it. `with` ends it."""

    def __init__(self):
        self._server = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._server is not None:
            self._server.close()

    @property
    def is_installed(self):
        from support.redis_servers.binaries import flavours  # noqa: PLC0415 (run_page.py sets the path first)

        return bool(flavours())

    def elsewhere(self, params, near):
        """Check the settings of a page; return them with the empty server of the tests.

        `near` is the file of a shared near tier. Raises `ImproperlyConfigured`.
        """
        params = copy.copy(params)
        options = dict(params.get("OPTIONS", {}))
        # Opening reads the files that the TLS options name, but does not connect.
        without_files = {name: value for name, value in options.items() if not name.startswith("TLS_")}
        given = {**params, "OPTIONS": without_files}
        location = params.get("LOCATION", "")
        if "rediss" in str(location):
            without_files["TLS_VERIFY"] = False
        assert options.keys() <= {*NAMES, *SYNONYMS}, options
        TieredCache(location, given)
        params["LOCATION"] = self._url() if self.is_installed else "redis://127.0.0.1:6379"
        kept = {name: value for name, value in options.items() if SYNONYMS.get(name, name) not in CONNECTION}
        if options.get("NEAR") == "shared":
            kept |= {"NEAR_LOCATION": str(near), "MAX_MEMORY": NEAR_MEMORY}
        return {**params, "OPTIONS": kept}

    def _url(self):
        from support.redis_servers.standalone import Server  # noqa: PLC0415 (as above)

        if self._server is None:
            self._server = Server()
        self._server.command("FLUSHALL")
        return self._server.url
