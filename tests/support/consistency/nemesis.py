"""What injects faults: one after the other, each for a random time, with a pause in which all recovers."""

import random
import time
from collections import Counter

from support.redis_servers.messages import PUSH, REPLY
from support.redis_servers.rules import is_data, is_listener


class Nemesis:
    """Faults of one server behind a proxy, of the network, and of the processes."""

    def __init__(self, history, workers, server, proxies, *, max_staleness, seed):
        self.history = history
        self.workers = workers
        self.server = server
        self.proxies = proxies
        self.max_staleness = max_staleness
        self.random = random.Random(seed)
        self.injected = Counter()

    faults = (
        "kill_server",
        "pause_server",
        "flush",
        "kill_worker",
        "stop_listener_of_machine",
        "stop_listener",
        "cut_all",
        "cut_listeners",
        "refuse_listeners",
        "silence_listeners",
        "hold_pushes",
        "delay_pushes",
        "delay_replies",
        "hold_replies",
    )

    def run(self, goes_on):
        """Inject all faults in random order, again and again, as long as the function returns true."""
        while True:
            for fault in self.random.sample(self.faults, len(self.faults)):
                if not goes_on():
                    return
                getattr(self, fault)()
                self.injected[fault] += 1
                time.sleep(self.random.uniform(0.3, 1.5) * self.max_staleness)

    def last(self, shortest=0.1, longest=3.0):
        """Let a fault last for a random time, counted in MAX_STALENESS."""
        time.sleep(self.random.uniform(shortest, longest) * self.max_staleness)

    def rules(self, make):
        """Apply a rule at all proxies for a while."""
        rules = [make(proxy) for proxy in self.proxies]
        self.last()
        for rule in rules:
            rule.release()

    # The server.

    def kill_server(self):
        self.server.kill()
        self.last()
        self.server.start()

    def pause_server(self):
        self.server.pause()
        self.last()
        self.server.resume()

    def flush(self):
        self.server.command("FLUSHALL")

    # The processes.

    def kill_worker(self):
        slot = self.random.choice(self.workers.slots)
        self.workers.kill(slot)
        self.last()
        self.workers.start(slot)

    def stop_listener_of_machine(self):
        self._stop(self.workers.with_listener(shared=True))

    def stop_listener(self):
        self._stop(self.workers.with_listener(shared=False))

    def _stop(self, slots):
        if not slots:
            return
        slot = self.random.choice(slots)
        self.workers.stop(slot)
        self.last(longest=5.0)
        self.workers.resume(slot)

    # The network.

    def cut_all(self):
        for proxy in self.proxies:
            proxy.cut()

    def cut_listeners(self):
        for proxy in self.proxies:
            proxy.cut(is_listener)

    def refuse_listeners(self):
        for proxy in self.proxies:
            proxy.refuse()
            proxy.cut(is_listener)
        self.last(longest=1.0)
        for proxy in self.proxies:
            proxy.accept()

    def silence_listeners(self):
        self.rules(lambda proxy: proxy.silence(is_listener))

    def hold_pushes(self):
        self.rules(lambda proxy: proxy.hold(PUSH))

    def delay_pushes(self):
        seconds = self.random.uniform(0.1, 1.2) * self.max_staleness
        self.rules(lambda proxy: proxy.delay(seconds, PUSH))

    def delay_replies(self):
        seconds = self.random.uniform(0.1, 0.5) * self.max_staleness
        self.rules(lambda proxy: proxy.delay(seconds, REPLY, command=b"GET", where=is_data))

    def hold_replies(self):
        self.rules(lambda proxy: proxy.hold(REPLY, where=is_data))
