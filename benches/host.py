"""The machine: a namespace of our own to measure in, programs started and ended, facts for the header.

Everything runs behind `unshare`: a network namespace (taps, veths), a mount namespace with a /run of its own (sockets,
DPDK's files) and a process namespace. When the script ends, however it ends, the kernel ends every program that it
started and removes every device. Outside of it live only the temporary directory and the hugepages, and `isolated` gives
both back.
"""

import contextlib
import ctypes
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INSIDE = "RINGSWITCH_BENCH_DIR"
HUGEPAGES = Path("/proc/sys/vm/nr_hugepages")
HUGEPAGES_WANTED = 768  # 1.5 GiB: a switch (1 GiB) and a testpmd that generates
TICKS = os.sysconf("SC_CLK_TCK")
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


class Failed(Exception):
    """What could not be done, for the table."""


# ---------------------------------------------------------------- outside: isolation


def inside():
    return INSIDE in os.environ


def isolated(main, hugepages):
    """Runs `main` in namespaces of its own and returns its exit code; gives back whatever was taken."""
    if inside():
        with contextlib.suppress(KeyboardInterrupt):
            enter()
            return main()
        return 130
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *user, "--net", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]
    # A temporary directory that is short: socket paths must not exceed 107 bytes.
    directory = tempfile.mkdtemp(prefix="rsb-", dir="/tmp")
    before = reserve_hugepages() if hugepages else None
    child = None

    def stop(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
    try:
        child = subprocess.Popen([*command, sys.executable, *sys.argv], env={**os.environ, INSIDE: directory})
        return child.wait()
    except KeyboardInterrupt:
        return 130
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if child is not None and child.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(5)  # Ctrl-C reached it too
            # `unshare` ignores SIGTERM; its death is that of everything in the namespace.
            child.kill()
            child.wait()
        if before is not None:
            write(HUGEPAGES, before)
        shutil.rmtree(directory, ignore_errors=True)


def reserve_hugepages():
    """The number there was; None when nothing was changed."""
    try:
        before = int(HUGEPAGES.read_text())
        if before >= HUGEPAGES_WANTED:
            return None
        write(HUGEPAGES, HUGEPAGES_WANTED)
        return before
    except OSError:
        return None


def write(path, value):
    with contextlib.suppress(OSError):
        path.write_text(f"{value}\n")


def enter():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run(["mount", "-t", "tmpfs", "tmpfs", "/run"])
    run(["mount", "-t", "sysfs", "sysfs", "/sys"])  # shows the devices of the namespace that it is mounted in
    run(["ip", "link", "set", "lo", "up"])


def directory():
    return Path(os.environ[INSIDE])


def free_hugepages():
    found = re.search(r"HugePages_Free:\s+(\d+)", Path("/proc/meminfo").read_text())
    return int(found[1]) if found else 0


# ---------------------------------------------------------------- inside: programs


def run(command, timeout=20, stdin=None, codes=(0,)):
    """Runs a short program; its output. Failed when it fails (ends with none of `codes`) or takes too long."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, input=stdin)
    except FileNotFoundError:
        raise Failed(f"{words[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(words[:3])}: no end within {timeout} s") from None
    if done.returncode not in codes:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Failed(f"{Path(words[0]).name}: {said[-1] if said else done.returncode}")
    return done.stdout


class Program:
    """A program in the background, its output in a log file."""

    def __init__(self, name, command, cpus=None, env=None, stdin=subprocess.DEVNULL):
        self.name = name
        self.log = directory() / f"{name}.log"
        words = [str(word) for word in command]
        if cpus is not None:
            words = ["taskset", "-c", ",".join(map(str, cpus)), *words]
        try:
            with open(self.log, "w") as log:
                self.child = subprocess.Popen(
                    words, stdin=stdin, stdout=log, stderr=log, env=env, text=True, preexec_fn=die_with_parent
                )
        except FileNotFoundError:
            raise Failed(f"{words[0]} is not installed") from None
        self.pid = self.child.pid

    def alive(self):
        return self.child.poll() is None

    def text(self):
        return self.log.read_text(errors="replace")

    def check(self):
        if not self.alive():
            lines = [line for line in self.text().strip().splitlines() if line.strip()]
            errors = [line for line in lines if re.search("error|cannot|fail", line, re.I)] or lines
            raise Failed(f"{self.name} ended: {errors[-1][-160:] if errors else self.child.returncode}")

    def wait_until(self, what, holds, timeout=20):
        end = time.monotonic() + timeout
        while not holds():
            self.check()
            if time.monotonic() > end:
                raise Failed(f"{self.name}: not within {timeout} s: {what}")
            time.sleep(0.02)

    def say(self, line):
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()

    def stop(self, timeout=5):
        if self.alive():
            self.child.send_signal(signal.SIGCONT)
            self.child.terminate()
            try:
                self.child.wait(timeout)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()

    @contextlib.contextmanager
    def paused(self):
        self.child.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.child.send_signal(signal.SIGCONT)

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def busiest_thread_seconds(self):
        """Seconds that the thread with the most CPU time spent in itself and in the kernel for it. What they are together is
        exact, how it is parted is sampled by the kernel's clock tick; softirqs in between count as the kernel's."""
        stats = [path.read_text() for path in Path(f"/proc/{self.pid}/task").glob("*/stat")]
        fields = [text.rpartition(")")[2].split() for text in stats]
        times = [(int(words[11]) / TICKS, int(words[12]) / TICKS) for words in fields]
        return max(times, key=sum)

    def rss_bytes(self):
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())
        return int(found[1]) * 1024


def die_with_parent():
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)


# ---------------------------------------------------------------- the kernel's part


def softirq_cycles(cpu=None):
    """What one CPU, or all of them, spent so far in softirqs, where the kernel moves packets (counted by its clock tick)."""
    wanted = "cpu" if cpu is None else f"cpu{cpu}"
    fields = next(words for line in Path("/proc/stat").read_text().splitlines() if (words := line.split())[0] == wanted)
    return int(int(fields[7]) * cycles_per_second() / TICKS)


def make_veths(pairs, queues=1):
    """Pairs of veths, quiet: no IPv6, no ARP."""
    for pair in pairs:
        several = ["numrxqueues", str(queues), "numtxqueues", str(queues)]
        run(["ip", "link", "add", pair[0], *several, "type", "veth", "peer", "name", pair[1], *several])
        for name in pair:
            run(["sysctl", "-qw", f"net.ipv6.conf.{name}.disable_ipv6=1"])
            run(["ip", "link", "set", name, "arp", "off", "up"])


def remove_veths(pairs):
    for name, _ in pairs:
        with contextlib.suppress(Failed):
            run(["ip", "link", "del", name])


def steer(name, cpu):
    """What this device receives is handled by the softirqs of that CPU."""
    for queue in Path(f"/sys/class/net/{name}/queues").glob("rx-*"):
        (queue / "rps_cpus").write_text(f"{1 << cpu:x}\n")


# ---------------------------------------------------------------- facts


def cycles_per_second():
    """The rate of the time stamp counter, as the kernel or DPDK would say."""
    found = re.search(r"cpu MHz\s*:\s*([\d.]+)", Path("/proc/cpuinfo").read_text())
    return float(found[1]) * 1e6 if found else 1e9


def facts():
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*:\s*(.*)", info)
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True)
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": commit.stdout.strip() or "unknown",
        "cpu": f"{model[1] if model else platform.machine()}, {os.cpu_count()} CPUs, {cycles_per_second() / 1e6:.0f} MHz",
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "virtual": "hypervisor" in info,
        "kernel": platform.release(),
        "free_hugepages": free_hugepages(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def save_json(path, value):
    """All or nothing: an interrupted run must leave a file that can be read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=1))
    part.replace(path)
