"""Switches with netdevs as ports: Open vSwitch without its kernel module, and ringswitch. Each has a directory of its own,
bridges, and controllers when it is given some."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import host
from host import Failed, Program, run

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")


@dataclass(frozen=True)
class Bridge:
    """What a switch is to have."""

    name: str = "br0"
    datapath_id: int = 1
    ports: tuple = ()  # netdevs, ports 1, 2, ... in this order
    controller: str = ""
    fail_mode: str = "secure"
    versions: tuple = ("OpenFlow10", "OpenFlow13", "OpenFlow14", "OpenFlow15")
    probe_ms: int = 5000  # silence after which the controller is probed


class Switch:
    def __init__(self, directory, programs=None):
        self.dir = Path(directory)
        self.binaries = Path(programs or host.ROOT / "target" / "release")

    def forget(self):
        """Empties caches that may be behind."""

    def ofctl(self, verb, *words, version="OpenFlow13", bridge="br0"):
        """Debian's ovs-ofctl, which finds a bridge by its socket."""
        return run(["ovs-ofctl", "-O", version, verb, f"unix:{self.dir}/{bridge}.mgmt", *words])


class Ovs(Switch):
    """Debian's ovs-vswitchd with its userspace datapath, and a database of its own. A network namespace has room for one,
    which can have several bridges."""

    name = "ovs"

    def __init__(self, directory, programs=None):
        super().__init__(directory, programs)
        self.programs = []

    def environment(self):
        return {**os.environ, **dict.fromkeys(("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"), str(self.dir))}

    def start(self, bridge):
        if not self.programs:
            self.start_daemons()
        name = bridge.name
        words = ["add-br", name, "--", "set", "bridge", name, "datapath_type=netdev", f"fail_mode={bridge.fail_mode}"]
        words += [f"protocols={','.join(bridge.versions)}", f"other_config:datapath-id={bridge.datapath_id:016x}"]
        words += ["other_config:disable-in-band=true"]
        for number, netdev in enumerate(bridge.ports, 1):
            words += ["--", "add-port", name, netdev, "--", "set", "interface", netdev, f"ofport_request={number}"]
        if bridge.controller:
            words += ["--", "set-controller", name, bridge.controller]
            words += ["--", "set", "controller", name, "max_backoff=1000", f"inactivity_probe={bridge.probe_ms}"]
        self.vsctl(*words)

    def set_fail_mode(self, mode):
        self.vsctl("set-fail-mode", "br0", mode)

    def forget(self):
        """What was dropped while there was no controller stays in its caches as long as somebody sends it."""
        run(["ovs-appctl", "-t", self.dir / "ctl", "revalidator/purge"])

    def start_daemons(self):
        if not SCHEMA.exists():
            raise Failed("Open vSwitch is not installed (openvswitch-switch)")
        self.dir.mkdir(parents=True, exist_ok=True)
        database = self.dir / "conf.db"
        database.unlink(missing_ok=True)
        run(["ovsdb-tool", "create", database, SCHEMA])
        server = ["ovsdb-server", database, f"--remote=punix:{self.dir}/db", f"--unixctl={self.dir}/dbctl"]
        self.launch("ovsdb-server", server, self.dir / "db")
        self.vsctl("--no-wait", "init")
        daemon = ["ovs-vswitchd", "--disable-system", f"unix:{self.dir}/db", f"--unixctl={self.dir}/ctl"]
        self.launch("ovs-vswitchd", daemon, self.dir / "ctl")

    def launch(self, name, command, socket):
        program = Program(f"{self.dir.name}-{name}", command, env=self.environment())
        self.programs.append(program)
        program.wait_until("its socket", socket.exists)

    def vsctl(self, *words):
        return run(["ovs-vsctl", f"--db=unix:{self.dir}/db", "--timeout=20", "--retry", *words], 25)

    def stop(self):
        for program in reversed(self.programs):
            program.stop()
        self.programs.clear()


class Ringswitch(Switch):
    """ringswitchd as it was built here, its ports by AF_XDP."""

    name = "ringswitch"
    program = None

    def start(self, bridge):
        self.dir.mkdir(parents=True, exist_ok=True)
        lines = ["[workers]", 'idle = "sleep"', f"[bridges.{bridge.name}]", f'fail_mode = "{bridge.fail_mode}"']
        lines += [f'datapath-id = "{bridge.datapath_id:016x}"', f"protocols = {json.dumps(bridge.versions)}"]
        if bridge.controller:
            lines += [f'controller = ["{bridge.controller}"]', f"inactivity_probe = {bridge.probe_ms}", "max_backoff = 1000"]
        for number, netdev in enumerate(bridge.ports, 1):
            lines += [f"[bridges.{bridge.name}.ports.{netdev}]", 'type = "afxdp"', f"ofport_request = {number}"]
        config = self.dir / "switch.toml"
        config.write_text("\n".join(lines) + "\n")
        command = [self.binaries / "ringswitchd", "--socket", self.dir / "ctl", "--config", config]
        self.program = Program(f"{self.dir.name}-ringswitchd", command)
        self.program.wait_until("its bridge", (self.dir / f"{bridge.name}.mgmt").exists)

    def set_fail_mode(self, mode):
        run([self.binaries / "rsctl", "--socket", self.dir / "ctl", "set-fail-mode", "br0", mode])

    def stop(self):
        if self.program:
            self.program.stop()
            self.program = None


SWITCHES = {switch.name: switch for switch in (Ovs, Ringswitch)}


def enter():
    """In a network namespace that was just made: its own /sys and loopback."""
    run(["mount", "-t", "sysfs", "sysfs", "/sys"])
    run(["ip", "link", "set", "lo", "up"])
    quiet()


def quiet():
    """No netdev of this namespace greets the world by itself."""
    run(["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"])


def veth(ours, theirs):
    run(["ip", "link", "add", ours, "type", "veth", "peer", "name", theirs])
    for name in (ours, theirs):
        run(["ip", "link", "set", name, "arp", "off", "up"])
