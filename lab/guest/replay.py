"""Runs in a guest: sends frames, in hexadecimal on standard input, on the underlay as they are.

What somebody on the wire can do with a recorded frame.
"""

import socket
import sys

with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as card:
    card.bind(("eth0", 0))
    for line in sys.stdin:
        card.send(bytes.fromhex(line.strip()))
