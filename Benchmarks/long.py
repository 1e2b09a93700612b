#!/usr/bin/env python3
"""How long others wait behind a long command: `Benchmarks/long.py [PROGRAM]`.

Three nodes on loopback with 1,000,000 keys. At the leader one connection sends long commands, one after the other; another sends
PING each half millisecond, a third one SET after another. For each command: how long it took, and the longest PING and SET
meanwhile. At the end, the terms before and after: nobody is to be deposed."""

import sys
import threading
import time

from arrangements import ROOT, Client, cluster, preload, raise_on_signals

KEYS = 1_000_000


class Waiter(threading.Thread):
    """Sends one request after the other; the longest answer since `reset`."""

    def __init__(self, address, request, pause):
        super().__init__(daemon=True)
        self.client, self.request, self.pause = Client(address, seconds=60), request, pause
        self.longest, self.ends = 0.0, False

    def run(self):
        while not self.ends:
            began = time.monotonic()
            self.client.call(*self.request)
            self.longest = max(self.longest, time.monotonic() - began)
            time.sleep(self.pause)

    def reset(self):
        self.longest = 0.0


def commands(keys):
    values = [word for key in keys for word in (key, "y" * 100)]
    yield "KEYS, none matches", ("KEYS", "*a*b*c*d*x")
    yield "KEYS, all match", ("KEYS", "*")
    yield "SCAN COUNT 1,000,000", ("SCAN", "0", "COUNT", KEYS)
    for name in ("MGET", "EXISTS", "TOUCH", "DEL"):
        yield f"{name} of {len(keys):,} keys", (name, *keys)
    yield f"MSET of {len(keys):,} keys", ("MSET", *values)
    yield "SET of 8 MiB", ("SET", "large", "x" * (8 << 20))
    yield "APPEND of 6 MiB to it", ("APPEND", "large", "x" * (6 << 20))
    yield "GET of it", ("GET", "large")
    yield "COPY of it", ("COPY", "large", "copy")
    yield "FLUSHALL", ("FLUSHALL",)


def main():
    raise_on_signals()
    program = sys.argv[1] if len(sys.argv) > 1 else ROOT + "/.build/release/kintsugi"
    with cluster(program) as nodes:
        leader = nodes.address(nodes.leader())
        preload(program, leader, KEYS)
        terms = nodes.terms()
        waiters = [Waiter(leader, ("PING",), 0.0005), Waiter(leader, ("SET", "w", "1"), 0.0005)]
        for waiter in waiters:
            waiter.start()
        print("| command | ms | longest PING, ms | longest SET, ms |\n| --- | --- | --- | --- |")
        with Client(leader, seconds=60) as client:
            keys = client.call("SCAN", "0", "COUNT", 10_000)[1][:10_000]
            for name, request in commands(keys):
                time.sleep(0.5)
                for waiter in waiters:
                    waiter.reset()
                began = time.monotonic()
                client.call(*request)
                took = time.monotonic() - began
                time.sleep(0.2)
                print(f"| {name} | {took * 1e3:.0f} | " + " | ".join(f"{w.longest * 1e3:.0f}" for w in waiters) + " |", flush=True)
        for waiter in waiters:
            waiter.ends = True
            waiter.join()
        print(f"Terms {terms} before, {nodes.terms()} after.")


if __name__ == "__main__":
    main()
