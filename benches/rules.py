"""Rule sets and hostile frames, the same in every run."""

import random
import struct

FORWARD = ("priority=1,in_port=1,actions=output:2", "priority=1,in_port=2,actions=output:1")


def address(number):
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


def tuple_rules():
    """Forwarding that needs the whole 5-tuple: a higher rule, which no frame meets, looks at each field of it."""
    return (
        "priority=9,udp,nw_src=10.250.0.1,nw_dst=198.19.9.9,tp_src=7,tp_dst=7,actions=drop",
        "priority=8,tcp,nw_src=10.250.0.0/16,tp_dst=23,actions=drop",
        *FORWARD,
    )


def acl_rules(count, masks):
    """`count` drop rules with `masks` different masks, none of which the generator's frames meet (they come from 10/8 and
    go to 198.18/15 with ports from 1024 up), over plain forwarding."""
    dice = random.Random(1)
    lengths = (10, 12, 14, 16, 18, 20, 22, 24, 28, 32)
    rest = ("tp_dst={low}", "tp_src={low}", "tp_src={low},tp_dst={port}", "nw_dst={to}/24", "nw_dst={to}/32,tp_dst={low}")
    shapes = [(length, tail) for length in lengths for tail in rest][:masks]
    rules = set()
    number = 0
    while len(rules) < count:
        length, tail = shapes[number % len(shapes)]
        number += 1
        mask = 0xFFFFFFFF << (32 - length) & 0xFFFFFFFF
        source = address((10 << 24 | dice.getrandbits(24)) & mask)
        to = 203 << 24 | 113 << 8 | dice.getrandbits(17) << 8 & 0xFF0000 | (dice.getrandbits(8) if "/32" in tail else 0)
        tail = tail.format(low=dice.randrange(1, 1000), port=dice.randrange(1, 65535), to=address(to))
        rules.add(f"udp,nw_src={source}/{length},{tail}")
    ordered = [f"priority={1000 + place % 5000},{rule},actions=drop" for place, rule in enumerate(sorted(rules))]
    return (*ordered, *FORWARD)


def many_rules(count):
    """Flows of one shape, as an orchestrator would load them."""
    return [
        f"priority=100,udp,nw_src={address(10 << 24 | number)},tp_dst={number % 60000 + 1},actions=output:2"
        for number in range(count)
    ]


def exact_rules(count):
    """A rule for each of the generator's flows (addresses and source ports one after the other): a switch that remembers
    flows must remember each by itself."""
    rule = "priority=100,udp,nw_src={},tp_src={},actions=output:2"
    return [rule.format(address((10 << 24) + 1 + flow), 1024 + flow % 64512) for flow in range(count)]


def explosion_rules():
    """An access list as anybody would write it: three allowed things, the rest refused. OVS remembers each refusal with as
    many bits as were needed, which is 16 x 32 x 16 masks for frames that are made for it."""
    allowed = ("udp,tp_dst=80", "udp,nw_src=10.0.0.10", "udp,tp_src=12345")
    honest = [f"priority=100,in_port={a},udp,nw_dst=198.18.0.1,tp_dst=2048,actions=output:{b}" for a, b in ((1, 2), (2, 1))]
    return (*(f"priority=50,{rule},actions=output:2" for rule in allowed), *honest, "priority=1,actions=drop")


def explosion_pcap(path):
    """Every combination of one flipped bit in source port, source address and destination port: 8192 frames."""
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for bits in range(16 * 32 * 16):
            source_bit, rest = bits % 32, bits // 32
            source = 0x0A00000A ^ 1 << source_bit
            ports = (12345 ^ 1 << rest % 16, 80 ^ 1 << rest // 16)
            frame = bytes.fromhex("0200000000020200000000030800")
            frame += struct.pack(">BBHHHBBHII", 0x45, 0, 50, 0, 0, 64, 17, 0, source, 0xC6120001)
            frame += struct.pack(">HHHH", *ports, 30, 0) + bytes(22)
            file.write(struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame)
