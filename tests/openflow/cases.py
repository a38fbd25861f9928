"""Runs os-ken's switch tests as an os-ken application: both switches dial in, the cases run one by one, each result becomes
a line of JSON. Runs in the environment that has os-ken; `switch-suite` starts it.

os-ken has no program of its own that loads an application, so this does. What differs from os-ken's own loop: several of
these share the cases (whoever makes a case's file in --claims runs it), nothing waits between cases, and a message that is
sent thousands of times is put into bytes once.
"""

import argparse
import json
import logging
import os
import sys
import time
from pathlib import Path

os.environ["OSKEN_HUB_TYPE"] = "eventlet"
sys.dont_write_bytecode = True

from os_ken.lib import hub  # noqa: E402

hub.patch(thread=False)

import os_ken.flags  # noqa: E402, F401 (declares the options of the suite)
import os_ken.tests.switch  # noqa: E402
from os_ken import cfg  # noqa: E402
from os_ken.base.app_manager import AppManager  # noqa: E402
from os_ken.tests.switch import tester  # noqa: E402

CASES = Path(os_ken.tests.switch.__file__).parent
VERSIONS = {"of10": "openflow10", "of13": "openflow13", "of14": "openflow14"}
EXPENSIVE_PPS = 5000  # a case that sends faster wants the machine for itself
TESTER_SETTLES = 0.7  # seconds that Open vSwitch may need until packets meet a new flow
BURST = 64  # packets that are sent before anything else has its turn


def listed(suite, words):
    """The cases of a suite whose names have one of the words: (name, file, number, packets per second or 0)."""
    found = []
    for path in sorted((CASES / suite).rglob("*.json")):
        tests = [test for test in json.loads(path.read_text()) if not isinstance(test, str)]
        for number, test in enumerate(tests):
            name = f"{path.relative_to(CASES).with_suffix('')}#{number}"
            packets = [step["ingress"]["packets"] for step in test["tests"] if isinstance(step["ingress"], dict)]
            rate = max((packet.get("pktps", 1000) for packet in packets), default=0)
            if not words or any(word in f"{name} {test['description']}" for word in words):
                found.append((name, path, number, rate))
    return sorted(found, key=lambda case: -case[3])  # what takes longest begins first


def fresh(packets):
    """A packet of a text that rolls dice."""
    packet = eval("/".join(packets["packet_text"]), vars(tester))
    packet.serialize()
    return bytes(packet.data)


class Detail(logging.Handler):
    """Keeps what os-ken logs under a case that failed."""

    text = ""

    def emit(self, record):
        if record.msg == "        %s":
            self.text = record.getMessage().strip()


class Cases(tester.OfTester):
    """os-ken's tester with a loop of our own."""

    options = None
    tester_is_ready = False
    shortfall = ""  # why a rate could not be judged

    def _set_logger(self):
        self.logger = logging.getLogger("cases")
        self.logger.propagate = False
        self.logger.setLevel(logging.INFO)
        self.detail = Detail()
        self.logger.addHandler(self.detail)

    def _test_sequential_execute(self, _directory):
        options = self.options
        files = {}
        with open(options.results, "a") as results:
            for name, path, number, rate in options.cases:
                if not self.claim(name):
                    continue
                if path not in files:
                    files[path] = tester.TestFile(str(path), self.logger)
                case = files[path].tests[number]
                self.detail.text = self.shortfall = ""
                start = time.monotonic()
                result = self._test_execute(case, None)
                said = {"case": name, "about": case.description, "ok": result == tester.TEST_OK}
                said |= {"detail": self.detail.text + self.shortfall, "took": round(time.monotonic() - start, 3)}
                results.write(json.dumps(said) + "\n")
                results.flush()
        os._exit(0)

    def claim(self, name):
        try:
            (self.options.claims / name.replace("/", "-")).open("x").close()
        except FileExistsError:
            return False
        return True

    def _test_initialize_flow(self, datapath):
        """The tester keeps its flow from case to case: Open vSwitch, which it is, would need time to see a new one."""
        if datapath is self.tester_sw and self.tester_is_ready:
            return
        super()._test_initialize_flow(datapath)
        if datapath is self.tester_sw:
            hub.sleep(TESTER_SETTLES)
            self.tester_is_ready = True

    def _test_exist_check(self, method, message):
        super()._test_exist_check(method, message)
        hub.sleep(self.options.settle)

    def _continuous_packet_send(self, pkt):
        """At the rate that was asked for, by the clock; os-ken's own way of waiting sends a tenth less."""
        self.tester_is_ready = False  # such a case gives the tester flows that count
        packets = pkt[tester.KEY_PACKETS]
        start, sent, elapsed = time.monotonic(), 0, 0.0
        seconds = self.options.seconds or packets[tester.KEY_DURATION_TIME]
        while elapsed < seconds:
            burst = min(int(elapsed * packets[tester.KEY_PKTPS]) - sent, BURST)
            for _ in range(burst):
                self.tester_sw.send_packet_out(fresh(packets) if packets["randomize"] else packets["packet_binary"])
            sent += burst
            hub.sleep(0 if burst == BURST else 0.002)
            elapsed = time.monotonic() - start
        if sent < 0.95 * elapsed * packets[tester.KEY_PKTPS]:
            self.shortfall = f" (the machine sent only {sent / elapsed:.0f} packets a second)"


def send_packet_out(switch, data):
    """In place of os-ken's: puts a message into bytes once, however often it is sent (20 000 a second are asked for)."""
    known, message = getattr(switch, "last_sent", (None, b""))
    if isinstance(switch.dp, tester.DummyDatapath):
        raise tester.TestError(tester.STATE_DISCONNECTED)
    if known is not data:
        message = packet_out(switch, data)
        switch.last_sent = (data, message)
    switch.dp.send(message)


def packet_out(switch, data):
    ofproto, parser = switch.dp.ofproto, switch.dp.ofproto_parser
    message = parser.OFPPacketOut(
        datapath=switch.dp,
        buffer_id=ofproto.OFP_NO_BUFFER,
        in_port=ofproto.OFPP_CONTROLLER,
        actions=[parser.OFPActionOutput(switch.tester_send_port)],
        data=data,
    )
    switch.dp.set_xid(message)
    message.serialize()
    return bytes(message.buf)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", choices=VERSIONS)
    parser.add_argument("--list", action="store_true", help="print the cases as JSON, and end")
    parser.add_argument("--filter", nargs="*", default=[], help="words, one of which a case must have in its name")
    parser.add_argument("--sample", action="store_true", help="the first case of each file, none that measures")
    parser.add_argument("--pace", choices=("all", "slow", "fast"), default="all", help="by the packets a second they send")
    parser.add_argument("--seconds", type=float, default=0, help="how long cases that measure send (0: as they say)")
    parser.add_argument("--settle", type=float, default=0, help="seconds between a barrier's answer and a packet")
    parser.add_argument("--claims", type=Path)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--listen", type=int, default=6653)
    options = parser.parse_args()
    options.cases = [
        case
        for case in listed(options.suite, options.filter)
        if options.pace == "all" or (options.pace == "fast") == (case[3] >= EXPENSIVE_PPS)
        if not options.sample or (case[2] == 0 and case[3] == 0)
    ]
    if options.list:
        print(json.dumps([(name, rate) for name, _, _, rate in options.cases]))
        return
    Cases.options = options
    tester.OpenFlowSw.send_packet_out = send_packet_out
    version = VERSIONS[options.suite]
    words = ["--ofp-listen-host=127.0.0.1", f"--ofp-tcp-listen-port={options.listen}"]
    words += [f"--test-switch-target-version={version}", f"--test-switch-tester-version={version}"]
    cfg.CONF(args=words, project="os_ken", version="")
    AppManager.run_apps(["os_ken.controller.ofp_handler", __name__ if __name__ != "__main__" else "cases"])


if __name__ == "__main__":
    import cases  # the loader takes applications from modules by name

    cases.main()
