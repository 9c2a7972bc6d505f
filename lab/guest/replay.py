"""Sends frames, in hexadecimal on standard input, on the underlay as they are.

What somebody on the wire can do with a recorded frame, or one of his own. Runs in a guest, or in
the lab's network namespace.

    replay.py [INTERFACE [ROUNDS [SECONDS_BETWEEN]]]
"""

import socket
import sys
import time

interface = sys.argv[1] if len(sys.argv) > 1 else "eth0"
rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 1
pause_seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
frames = [bytes.fromhex(line.strip()) for line in sys.stdin]
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as card:
    card.bind((interface, 0))
    for number in range(rounds):
        if number:
            time.sleep(pause_seconds)
        for frame in frames:
            card.send(frame)
