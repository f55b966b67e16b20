"""Django's own cache tests, with our backends in place of LocMemCache.

    source.py         fetches the source package of the installed Django, pinned by hash
    patched.py        makes a copy of its tests which names our backend
    through_cache.py  stands in for `pickle` in the copy's tests of pickling
    settings.py       the settings that copy runs under (imported by Django, not by pytest)
    runner.py         Django's test runner, which holds the run to exceptions.py
    exceptions.py     the tests that may fail, and why
    run.py            a run in a process of its own
    conftest.py       starts all runs when pytest starts

test_django_suite.py waits for them. This folder's parent is put on PYTHONPATH for that, so the copy can
import these modules; nothing in them is copied.
"""
