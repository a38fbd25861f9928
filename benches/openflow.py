"""A small OpenFlow 1.3 controller, and how long a flow-mod takes until packets obey it.

A connection that stays, because what is measured takes less time than a program to start.
"""

import socket
import struct
import time

from host import Failed

VERSION = 4
HELLO, ERROR, FLOW_MOD, BARRIER_REQUEST, BARRIER_REPLY = 0, 1, 14, 20, 21
ADD, DELETE_STRICT = 0, 4
ANY = 0xFFFFFFFF
ETH_P_ALL = 3
PROBE = bytes.fromhex("020000000004 020000000003 88b5".replace(" ", "")) + bytes(46)
PATIENCE = 2.0  # seconds for anything


class Connection:
    """To a switch's management socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(str(path))
        self.send(HELLO)

    def send(self, kind, body=b""):
        self.socket.sendall(struct.pack(">BBHI", VERSION, kind, 8 + len(body), 7) + body)

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise Failed("the switch closed its OpenFlow connection")
            data += more
        return data

    def barrier(self):
        """Returns when the switch says that all is done."""
        self.send(BARRIER_REQUEST)
        while True:
            _, kind, length, _ = struct.unpack(">BBHI", self.exactly(8))
            body = self.exactly(length - 8)
            if kind == ERROR:
                raise Failed(f"OpenFlow error {struct.unpack('>HH', body[:4])}")
            if kind == BARRIER_REPLY:
                return

    def flow_mod(self, command, in_port, output):
        """A rule of a high priority from a port to a port."""
        match = struct.pack(">HHHBBI4x", 1, 12, 0x8000, 0, 4, in_port)
        action = struct.pack(">HHIH6x", 0, 16, output, 0)
        head = struct.pack(">QQBBHHHIIIH2x", 0, 0, 0, command, 0, 0, 60000, ANY, ANY, ANY, 0)
        instruction = struct.pack(">HH4x", 4, 8 + len(action)) + action
        self.send(FLOW_MOD, head + match + instruction)


def packet_socket(netdev):
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    opened.bind((netdev, 0))
    opened.setblocking(False)
    return opened


def drain(opened):
    count = 0
    while True:
        try:
            count += opened.recv(2048)[:14] == PROBE[:14]
        except BlockingIOError:
            return count


def times_to_effect(path, near, far, ports, count):
    """Seconds, `count` times, from a flow-mod that lets frames of a port through until the first one is through. `near` and
    `far` are the netdevs at the other ends of the switch's `ports`."""
    connection = Connection(path)
    sender, receiver = packet_socket(near), packet_socket(far)
    found = []
    for _ in range(count):
        connection.flow_mod(DELETE_STRICT, *ports)
        connection.barrier()
        time.sleep(0.02)
        drain(receiver)
        start = time.perf_counter()
        connection.flow_mod(ADD, *ports)
        while not drain(receiver):
            sender.send(PROBE)
            if time.perf_counter() - start > PATIENCE:
                raise Failed(f"no frame obeyed a flow-mod within {PATIENCE} s")
        found.append(time.perf_counter() - start)
    return found
