"""The other end of a veth: how much came from whom, counted by the kernel (nftables) so that nobody has to trust a switch."""

import json

import host
from host import Failed, run

ETHERNET = 14  # bytes of header that the kernel does not count


def address(station):
    """rspktgen's station of this number, from 0."""
    return f"02:00:{station + 1:02x}:00:00:01"


class FarEnd:
    """Counts and drops what arrives at `name`, by the sender's address."""

    def __init__(self, name, senders):
        self.name, self.senders = name, senders

    def __enter__(self):
        rules = [f"add rule netdev rsb in ether saddr {address(n)} counter drop" for n in range(self.senders)]
        hook = f"add chain netdev rsb in {{ type filter hook ingress device {self.name} priority 0; }}"
        run(["nft", "-f", "-"], stdin="\n".join(["add table netdev rsb", hook, *rules]) + "\n")
        return self

    def __exit__(self, *_):
        run(["nft", "delete", "table", "netdev", "rsb"])

    def frames(self):
        return [packets for packets, _ in self.counters()]

    def bytes(self):
        """Of whole frames."""
        return [octets + ETHERNET * packets for packets, octets in self.counters()]

    def counters(self):
        rules = json.loads(run(["nft", "-j", "list", "table", "netdev", "rsb"]))["nftables"]
        counters = [part["counter"] for rule in rules for part in rule.get("rule", {}).get("expr", []) if "counter" in part]
        if len(counters) != self.senders:
            raise Failed("nftables lost a counter")
        return [(counter["packets"], counter["bytes"]) for counter in counters]


def max_min(capacity, weights, demands):
    """What each gets when nobody can have more without taking from one who has less for its weight."""
    shares, open_ones = [0.0] * len(weights), set(range(len(weights)))
    left = capacity
    while open_ones:
        part = left / sum(weights[n] for n in open_ones)
        sated = {n for n in open_ones if demands[n] <= part * weights[n]}
        if not sated:
            for n in open_ones:
                shares[n] = part * weights[n]
            return shares
        for n in sated:
            shares[n] = demands[n]
            left -= demands[n]
        open_ones -= sated
    return shares


def jain(parts):
    """Jain's index of fairness: 1 when all are equal, 1/n when one has everything."""
    squares = sum(part * part for part in parts)
    return sum(parts) ** 2 / (len(parts) * squares) if squares else 0.0
