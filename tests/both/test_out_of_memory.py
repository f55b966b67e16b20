"""An operation without memory raises MemoryError, as with LocMemCache, and the cache stays usable."""

import contextlib
import itertools
import logging
import sys
import sysconfig

import pytest

from support.isolated import isolated
from support.out_of_memory import OPERATIONS, REFUSED, Exhausted, check, filled, restore

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
KINDS = ["local", "shared"] if sys.platform == "linux" else ["local"]
# After so many tries without a failure an operation has no allocation left that could fail.
ENOUGH = 15
# Operations of one process.
AT_ONCE = 8

of_both = pytest.mark.parametrize("kind", KINDS)
in_groups = pytest.mark.parametrize(
    "names", [list(OPERATIONS)[start : start + AT_ONCE] for start in range(0, len(OPERATIONS), AT_ONCE)]
)


def attempt(cache, name):
    """Do an operation; tell whether it found memory for all of it."""
    try:
        OPERATIONS[name](cache)
    except MemoryError:
        return False
    except BaseException as error:
        raise AssertionError(name) from error
    return True


class TestPythonsAllocator:
    """Each allocation of Python's fails in turn, or all from one on."""

    @of_both
    @in_groups
    @isolated
    def test_every_operation_succeeds_or_raises_memory_error(self, kind, names):
        testcapi = pytest.importorskip("_testcapi")
        with filled(kind) as cache:
            for name, only in itertools.product(names, [True, False]):
                OPERATIONS[name](cache)
                number = successes = 0
                while successes < ENOUGH:
                    testcapi.set_nomemory(number, number + 1 if only else 0)
                    try:
                        done = attempt(cache, name)
                    except MemoryError:
                        done = False  # Python 3.10 allocates the frame of each call
                    finally:
                        testcapi.remove_mem_hooks()
                    successes = successes + 1 if done else 0
                    number += 1
                    check(cache)
                    restore(cache)

    @of_both
    @isolated
    def test_failing_calls_raise_their_error_or_memory_error(self, kind):
        testcapi = pytest.importorskip("_testcapi")
        with filled(kind) as cache:
            for prepare, own in REFUSED:
                call = prepare(cache)
                with pytest.raises(own):
                    call()
                number = successes = 0
                while successes < ENOUGH:
                    testcapi.set_nomemory(number, number + 1)
                    # If CPython has no memory for the frame of a Python function, it raises a SystemError.
                    try:
                        call()
                    except (own, MemoryError, SystemError) as raised:
                        error = raised
                    finally:
                        testcapi.remove_mem_hooks()
                    successes = successes + 1 if isinstance(error, own) else 0
                    number += 1
                    check(cache)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and RLIMIT_AS")
class TestProcessAtItsLimit:
    """Not a block is left, and then a few more at a time."""

    STEPS = 400

    @of_both
    @in_groups
    @isolated
    def test_every_operation_succeeds_or_raises_memory_error(self, kind, names):
        with filled(kind) as cache:
            for name in names:
                OPERATIONS[name](cache)
                with Exhausted() as memory:
                    for step in range(self.STEPS):
                        if attempt(cache, name) and step > self.STEPS // 2:
                            break
                        memory.release(1 + step)
                check(cache)
                restore(cache)

    @of_both
    @isolated
    def test_large_values_and_many_keys(self, kind):
        # With memory enough a SharedCache logs that a value is too large for its file.
        logging.getLogger("nearcache").setLevel(logging.ERROR)
        large = list(range(300_000))
        names = [f"key-{number}" for number in range(20_000)]
        with filled(kind) as cache:
            cache.set_many(dict.fromkeys(names, 1), None)
            operations = [
                lambda: cache.set("large", large),
                lambda: [cache.get_many(names) for _ in range(20)],
                lambda: [cache.keys("*") for _ in range(20)],
                lambda: cache.set_many({f"{name}-{number}": name for name in names for number in range(9)}),
            ]
            for operation in operations:
                with Exhausted() as memory, contextlib.suppress(MemoryError):
                    memory.release(20_000)
                    operation()
                cache.set("usable", large[:100])
                assert cache.get("usable") == large[:100]
            larger = large * 10
            # Free-threaded Python allocates from a gigabyte that it reserves at its start: this may succeed.
            refusal = contextlib.suppress(MemoryError) if FREE_THREADED else pytest.raises(MemoryError)
            with Exhausted(), refusal:
                cache.set("large", larger)
            cache.set("large", 1)
            assert cache.get("large") == 1


class TestPanic:
    """A bug of ours is an exception that a worker survives."""

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("kind", KINDS)
    def test_is_a_runtime_error(self, kind, capfd):
        with filled(kind) as cache:
            with pytest.raises(
                RuntimeError, match="an internal error, please report it: asked for by a test"
            ):
                cache._panic("text")
            # What was locked when it happened is emptied.
            assert (cache.get("text") is None) == (kind == "local")
            restore(cache)
            check(cache)
        # Rust's own message, and nothing else.
        assert capfd.readouterr().err.count("panicked at") == 1

    def test_in_the_binding_is_a_runtime_error_too(self):
        [raised] = [kind for kind in RuntimeError.__subclasses__() if kind.__name__ == "PanicException"]
        assert issubclass(raised, Exception)
