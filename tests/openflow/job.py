"""One place where cases run, in a network namespace of its own: the switch under test, the tester switch wired to it port by
port, and os-ken over both. `switch-suite` starts several."""

import argparse
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE.parent.parent / "benches"))

import host  # noqa: E402
import lab  # noqa: E402

PORTS = 3
CONTROLLER = "tcp:127.0.0.1:6653"
VERSIONS = {"of10": ("OpenFlow10",), "of13": ("OpenFlow13",), "of14": ("OpenFlow14",)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("switch", choices=lab.SWITCHES)
    parser.add_argument("suite", choices=VERSIONS)
    parser.add_argument("command", help="the os-ken application's command line, as JSON")
    parser.add_argument("--programs")
    options = parser.parse_args()
    lab.enter()
    for number in range(1, PORTS + 1):
        lab.veth(f"target{number}", f"tester{number}")
    versions = VERSIONS[options.suite]
    target = lab.SWITCHES[options.switch](host.directory() / "target", options.programs)
    # A namespace has room for one Open vSwitch: when that is what is tested, the tester is a bridge of its own in it.
    tester = target if isinstance(target, lab.Ovs) else lab.Ovs(host.directory() / "tester")
    osken = host.Program("os-ken", json.loads(options.command))
    ports = [tuple(f"{side}{number}" for number in range(1, PORTS + 1)) for side in ("target", "tester")]
    target.start(lab.Bridge("br0", 1, ports[0], CONTROLLER, versions=versions))
    tester.start(lab.Bridge("tester", 2, ports[1], CONTROLLER, versions=versions))
    try:
        code = osken.child.wait()
        if code:
            print(osken.text(), file=sys.stderr)
        return code
    finally:
        target.stop()
        tester.stop()


if __name__ == "__main__":
    sys.exit(main())
