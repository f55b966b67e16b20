"""The tests of packages that use Django's caches, run with our caches: `make test-packages`.

    suites.py       the packages, and which of their tests run
    exceptions.py   the tests that may fail, and why
    source.py       unpacks the source packages, which have the tests
    environment.py  CACHES for their settings; the environment of a run
    plugin.py       holds a run to exceptions.py (loaded by pytest in the run)
    <package>/      the settings of its run, and what its source package lacks
    test_*.py       the runs, and what our system checks say of the installed packages

requirements/packages.txt pins everything. The packages are installed in `build/packages`, and each run is a
process of that environment; the tests that start the runs belong to the checkout's own.
"""
