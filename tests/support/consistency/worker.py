"""A process that writes or reads, and checks what it reads."""

import dataclasses
import json
import random
import sys
import time
from pathlib import Path

from support.consistency.history import ALL_END, CLOCK_TICK, FAILED, RUNNING, History

ROUNDS_AT_ONCE = 20
# Every so many rounds, all keys are read at once, and without near copies.
GET_MANY_EVERY, FRESH_EVERY = 7, 500
# How long the last reads may fail.
RECOVERY_SECONDS = 20
PAUSE_AFTER_ERROR = 0.005
# A writer prefers the first keys.
HOT_KEYS, HOT_SHARE = 8, 0.5


def open_cache(url, options, broken_guard):
    """Return the cache; without one of the guards of the promise, if one is named."""
    from django.conf import settings  # noqa: PLC0415 (only in the new process)

    settings.configure()
    from nearcache.django import TieredCache, tiered  # noqa: PLC0415

    if broken_guard is not None:
        parse = tiered.TieredOptions.parse

        def without_guard(location, params):
            return dataclasses.replace(parse(location, params), broken_guard=broken_guard)

        tiered.TieredOptions.parse = without_guard
    return TieredCache(url, {"TIMEOUT": None, "OPTIONS": options})


def name_of(key):
    return f"key-{key}"


def value_of(key, version):
    """Return a value that names its key and version: numbers and pickles by turns."""
    return (key << 32) | version if key % 2 else (name_of(key), version)


def parsed(key, value):
    """Return the version in a value; None if it is another key's."""
    if type(value) is int:
        return value & 0xFFFFFFFF if value >> 32 == key else None
    name, version = value
    return version if name == name_of(key) else None


class Worker:
    """What writers and readers have in common."""

    def __init__(self, settings):
        self.settings = settings
        self.history = History(settings["history"], settings["keys"], settings["versions"])
        self.slot = settings["slot"]
        self.bound = settings["max_staleness"] + CLOCK_TICK
        self.random = random.Random(time.monotonic_ns())
        self.cache = open_cache(settings["url"], settings["options"], settings["broken_guard"])

    def check(self, key, value, start, bound):
        """Report a value that breaks the promise."""
        version = parsed(key, value)
        if version is None:
            self.report(f"key {key}: read {value!r}")
        else:
            newer = self.history.newer(key, version, start, bound)
            if newer is not None:
                age = start - self.history.acks[self.history.base(key) + newer]
                self.report(f"key {key}: read {version}, but {newer} was acknowledged {age:.4f} s before")

    def report(self, text):
        self.history.add(self.slot, "violations", 1)
        with Path(self.settings["log"]).open("a") as log:
            log.write(f"worker {self.slot} ({self.settings['role']}): {text}\n")

    def add(self, name, count=1):
        self.history.add(self.slot, name, count)


class Writer(Worker):
    """Writes its keys, and reads each after the write."""

    def run(self):
        keys = [key for key in range(self.settings["keys"]) if key % self.settings["writers"] == self.slot]
        for key in keys:
            self.history.take_over(key)
        hot = [key for key in keys if key < HOT_KEYS]
        while self.history.phase == RUNNING:
            self.write(self.random.choice(hot if self.random.random() < HOT_SHARE else keys))
            time.sleep(self.settings["interval"])

    def write(self, key):
        from nearcache.django.errors import RemoteError  # noqa: PLC0415

        version = self.history.begin(key)
        if version is None:
            return
        try:
            self.cache.set(name_of(key), value_of(key, version))
        except RemoteError:
            self.history.end(key, version, FAILED)
            self.add("failed_writes")
            return
        self.history.end(key, version, time.monotonic())
        self.add("writes")
        try:
            start = time.monotonic()
            value = self.cache.get(name_of(key))
        except RemoteError:
            return
        # Its own write, which was acknowledged before, at once.
        if value is not None:
            self.check(key, value, start + CLOCK_TICK, 0)


class Reader(Worker):
    """Reads all keys again and again."""

    def run(self):
        rounds = reported = 0
        order = list(range(self.settings["keys"]))
        while self.history.phase != ALL_END:
            self.random.shuffle(order)
            for _ in range(ROUNDS_AT_ONCE):
                rounds += 1
                if rounds % GET_MANY_EVERY == 0:
                    self.read_many(order)
                else:
                    self.read_each(order, fresh=rounds % FRESH_EVERY == 0)
            hits = self.cache.stats().remote.near_hits
            self.add("near_hits", hits - reported)
            reported = hits
        if self.settings["compares"]:
            self.compare(order)

    def read_each(self, order, fresh):
        from nearcache.django.errors import RemoteError  # noqa: PLC0415

        get, clock, acks, versions = (
            self.cache.get,
            time.monotonic,
            self.history.acks,
            self.settings["versions"],
        )
        names, bound, missing, errors = [name_of(key) for key in order], self.bound, 0, 0
        for key, name in zip(order, names, strict=True):
            start = clock()
            try:
                value = get(name, fresh=True) if fresh else get(name)
            except RemoteError:
                errors += 1
                time.sleep(PAUSE_AFTER_ERROR)
                continue
            if value is None:
                missing += 1
                continue
            # Most often, there is no later version: then there is nothing to check but the key.
            if type(value) is int:
                version, is_right = value & 0xFFFFFFFF, value >> 32 == key
            else:
                version, is_right = value[1], value[0] == name
            if not is_right or version + 2 >= versions or acks[key * versions + version + 1] != 0:
                self.check(key, value, start, bound)
        self.add("reads", len(order) - errors)
        self.add("missing", missing)
        self.add("errors", errors)

    def read_many(self, order):
        from nearcache.django.errors import RemoteError  # noqa: PLC0415

        keys = {name_of(key): key for key in order}
        start = time.monotonic()
        try:
            found = self.cache.get_many(keys)
        except RemoteError:
            self.add("errors")
            time.sleep(PAUSE_AFTER_ERROR)
            return
        for name, value in found.items():
            self.check(keys[name], value, start, self.bound)
        self.add("reads", len(keys))
        self.add("missing", len(keys) - len(found))

    def compare(self, order):
        """Compare all reads with the server's values: nobody writes any more."""
        for key in order:
            read, served = self.get_in_the_end(name_of(key)), self.get_in_the_end(name_of(key), fresh=True)
            if read != served:
                self.report(f"key {key}: read {read!r} in the end, but the server has {served!r}")

    def get_in_the_end(self, name, **arguments):
        """Read a key. The server may not answer at once: it recovers, and the machine is busy."""
        from nearcache.django.errors import RemoteError  # noqa: PLC0415

        deadline = time.monotonic() + RECOVERY_SECONDS
        while True:
            try:
                return self.cache.get(name, **arguments)
            except RemoteError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE_AFTER_ERROR)


ROLES = {"writer": Writer, "reader": Reader}


def main(settings):
    settings = json.loads(settings)
    ROLES[settings["role"]](settings).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
