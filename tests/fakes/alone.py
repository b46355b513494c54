"""A house in a network namespace with a Hub, a target and nobody else, and a listener that sees every packet.

    unshare --net --map-root-user python tests/fakes/alone.py FOLDER OFFLINE

Prints one JSON line: TCP connections, bytes both ways and packets as the kernel carried them, and the house's ledger.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import struct
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))


class Listener(threading.Thread):
    """Every packet of the loopback, which is all the network there is.

    Bytes are read from TCP's own numbers, so that a packet missed by a busy listener changes nothing.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))  # ETH_P_ALL
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
        self._socket.settimeout(0.2)
        self._first: dict[bytes, int] = {}
        """Of each flow: the number of its SYN."""
        self._asking: set[bytes] = set()
        self._sent: dict[bytes, int] = {}
        self._over: set[bytes] = set()
        self.packets = 0
        self.ends = False

    def run(self) -> None:
        while True:
            try:
                packet, (_, _, kind, *_) = self._socket.recvfrom(1 << 17)
            except TimeoutError:
                if self.ends:
                    return
                continue
            if kind == socket.PACKET_HOST:  # on the loopback each is seen going out and coming in
                self._see(packet[14:])

    def _see(self, packet: bytes) -> None:
        self.packets += 1
        if packet[0] >> 4 != 4 or packet[9] != socket.IPPROTO_TCP:
            return
        start = (packet[0] & 15) * 4
        number, _, offset, flags = struct.unpack_from("!IIBB", packet, start + 4)
        flow = packet[12:20] + packet[start : start + 4]
        fin, syn, reset, ack = (bool(flags & bit) for bit in (1, 2, 4, 16))
        if syn:
            self._first[flow] = number
            if not ack:
                self._asking.add(flow)
        elif flow in self._first and flow not in self._over and not reset:
            size = len(packet) - start - (offset >> 4) * 4
            end = (number - self._first[flow] - 1) % (1 << 32) + size
            self._sent[flow] = max(self._sent.get(flow, 0), end)
            if fin:  # has a number of its own, which later packets count
                self._over.add(flow)

    def count(self) -> dict[str, int]:
        up = sum(size for flow, size in self._sent.items() if flow in self._asking)
        return {
            "connections": len(self._asking),
            "bytes_up": up,
            "bytes_down": sum(self._sent.values()) - up,
            "packets": self.packets,
        }


def raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP


def main(folder: Path, offline: bool) -> None:
    os.environ.update({"DOMICILE_HOME": str(folder / "home"), "HF_HOME": str(folder / "hf"), "LC_ALL": "C.UTF-8"})
    raise_loopback()
    from domicile import Domicile
    from domicile.hardware import sample
    from tests.fakes.hub import FakeHub
    from tests.fakes.hub import running as hub_running
    from tests.fakes.target import FakeTarget
    from tests.fakes.target import running as target_running

    sample.write(folder / "a.gguf", "Q8_0", sample.Shape(1, 256, 512, 8, 8))
    hub = FakeHub()
    hub.add("org/repo", {"a-Q8_0.gguf": (folder / "a.gguf").read_bytes(), "README.md": b"# A model"})
    listener = Listener()
    listener.start()
    with hub_running(hub), target_running(FakeTarget()) as target:
        os.environ["HF_ENDPOINT"] = hub.url
        if offline:  # the consent was given before
            with Domicile() as home:
                home.add_target("nas", target.url)
                home.consent("nas")
        with Domicile(offline=offline) as home:
            steps = (
                lambda: home.search("a"),
                lambda: home.fit("org/repo:Q8_0", quick=True),
                lambda: home.pull("org/repo:Q8_0"),
                lambda: offline or (home.add_target("nas", target.url), home.consent("nas")),
                lambda: home.test_target("nas"),
                lambda: home.chat("Bonjour", strategy="away"),
                lambda: home.chat("Bonjour", max_tokens=4),
            )
            for step in steps:
                with contextlib.suppress(*([Exception] if offline else [])):
                    step()
            told = home.egress(limit=1000)["exchanges"]
        time.sleep(0.3)
    listener.ends = True
    listener.join(10)
    print(json.dumps({**listener.count(), "ledger": told}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] == "1")
