"""Tracing tools (ddtrace, Sentry, OpenTelemetry) see of our caches what they see of LocMemCache.

`make test-tools` installs them into a folder of their own, which the other tests do not import from.
"""

import json
import sys

import pytest

from support.isolated import run
from support.tools import TOOLS

pytestmark = pytest.mark.skipif(not TOOLS.is_dir(), reason="the tools are not installed: make test-tools")

LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
PLAIN = ["nearcache.django.LocalCache", "nearcache.django.SharedCache"]
TRACED = ["nearcache.django.traced.LocalCache", "nearcache.django.traced.SharedCache"]

# A site with one cache. Warnings of the tools are their own.
SITE = """
import json, sys, warnings
warnings.resetwarnings()
warnings.simplefilter("ignore")
import django
from django.conf import settings
settings.configure(
    SECRET_KEY="tools",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    CACHES={"default": {"BACKEND": sys.argv[1], "LOCATION": sys.argv[2]}},
)
from django.http import HttpResponse
from django.urls import path
def view(request):
    from django.core.cache import cache
    return HttpResponse(str(cache.get_or_set("viewed", 1)))
urlpatterns = [path("", view)]
"""
USES = """
from django.core.cache import caches
cache = caches["default"]
cache.clear()
assert cache.set("a", 1) is None and cache.get("a") == 1 and cache.add("b", 1) is True
assert cache.incr("a") == 2 and cache.decr("a") == 1 and cache.delete("a") is True
assert cache.set_many({"c": 1}) == [] and cache.get_many(["c"]) == {"c": 1}
cache.delete_many(["c"])
assert cache.get("c", "gone") == "gone"
"""


@pytest.fixture
def seen(monkeypatch, tmp_path):
    """Return a function that runs a program with a backend and returns what the program says a tool saw."""
    # A subprocess gets this process's path; ours come first.
    monkeypatch.setattr(sys, "path", [*sys.path, str(TOOLS)])
    for name in (
        *("DD_TRACE_STARTUP_LOGS", "DD_INSTRUMENTATION_TELEMETRY_ENABLED", "DD_REMOTE_CONFIGURATION_ENABLED"),
        *("DD_CRASHTRACKING_ENABLED", "DD_TRACE_AGENT_PROTOCOL_VERSION"),
    ):
        monkeypatch.setenv(name, "false")
    monkeypatch.setenv("DD_DJANGO_INSTRUMENT_CACHES", "true")

    def seen(program, backend):
        location = str(tmp_path / "cache") if backend.endswith("SharedCache") else "tools"
        return json.loads(run("-c", SITE + program, backend, location))

    return seen


class TestDdtrace:
    PROGRAM = f"""
from ddtrace import patch
from ddtrace.trace import TraceFilter, tracer
seen = []
class Collect(TraceFilter):
    def process_trace(self, trace):
        seen.extend(span.resource.rpartition(".")[2] for span in trace if span.name == "django.cache")
tracer.configure(trace_processors=[Collect()])
patch(django=True)
django.setup()
{USES}
print(json.dumps(seen))
"""

    @pytest.mark.parametrize("backend", TRACED)
    def test_sees_of_a_traced_cache_what_it_sees_of_locmem(self, seen, backend):
        operations = seen(self.PROGRAM, backend)
        assert operations == seen(self.PROGRAM, LOCMEM)
        assert {"get", "set", "add", "delete", "incr", "decr", "get_many", "set_many"} < set(operations)

    @pytest.mark.parametrize("backend", PLAIN)
    def test_sees_of_a_plain_cache_only_the_functions(self, seen, backend):
        expected = ["incr", "decr", "incr", "set_many", "get_many", "delete_many"]
        assert seen(self.PROGRAM, backend) == expected


class TestSentry:
    PROGRAM = """
import sentry_sdk
from sentry_sdk.integrations.django import DjangoIntegration
seen = []
def collect(event, hint):
    for span in event["spans"]:
        if span["op"].startswith("cache."):
            seen.append([span["op"], span["description"], span["data"].get("cache.hit")])
sentry_sdk.init(
    dsn="https://key@localhost/1",
    integrations=[DjangoIntegration(cache_spans=True)],
    auto_enabling_integrations=False,
    traces_sample_rate=1.0,
    before_send_transaction=collect,
)
django.setup()
from django.core.cache import cache as django_s
from nearcache.django import cache as ours
with sentry_sdk.start_transaction(name="uses"):
    for cache in (django_s, ours):
        cache.clear()
        cache.set("a", 1)
        assert cache.get("a") == 1 and cache.get("b") is None
        cache.set_many({"c": 1})
        assert cache.get_many(["c"]) == {"c": 1}
print(json.dumps(seen))
"""

    @pytest.mark.parametrize("backend", [*PLAIN, *TRACED])
    def test_sees_what_it_sees_of_locmem(self, seen, backend):
        spans = seen(self.PROGRAM, backend)
        assert spans == seen(self.PROGRAM, LOCMEM)
        assert ["cache.put", "a", None] in spans
        assert ["cache.get", "a", True] in spans
        assert ["cache.get", "b", False] in spans


class TestOpenTelemetry:
    PROGRAM = f"""
import wrapt
from django.utils.module_loading import import_string
from opentelemetry import trace
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
DjangoInstrumentor().instrument()
# OpenTelemetry's instrumentors wrap methods with wrapt. There is none for Django's caches: a project's own.
kind = import_string(sys.argv[1])
def traced(wrapped, instance, args, kwargs):
    assert isinstance(instance, kind)
    with trace.get_tracer("cache").start_as_current_span(wrapped.__name__):
        return wrapped(*args, **kwargs)
for name in ("get", "set", "add", "delete", "incr", "get_many", "set_many"):
    wrapt.wrap_function_wrapper(kind, name, traced)
django.setup()
from django.test import Client
assert Client().get("/").content == b"1"
{USES}
print(json.dumps([span.name.strip() for span in exporter.get_finished_spans()]))
"""

    @pytest.mark.parametrize("backend", [*PLAIN, *TRACED])
    def test_sees_what_it_sees_of_locmem(self, seen, backend):
        spans = seen(self.PROGRAM, backend)
        assert spans == seen(self.PROGRAM, LOCMEM)
        # The request is one, and get_or_set() in its view comes before it.
        assert spans[:4] == ["get", "add", "get", "GET"]
        assert {"set", "delete", "incr", "get_many", "set_many"} < set(spans)
