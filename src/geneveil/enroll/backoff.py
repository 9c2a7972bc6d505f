"""How long a client waits before it asks a busy or silent operator again. Pure.

The jitter comes from a seed such as the node's name and the number of the attempt: nodes that were
turned away together do not come back together, and a test knows what happens.
"""

import hashlib

FIRST_SECONDS = 1.0
CAP_SECONDS = 60.0
_MOST_DOUBLINGS = 10


def backoff_seconds(seed: str, attempts: int, retry_after_seconds: float = 0.0) -> float:
    """Decide how long to wait after so many failed attempts (at least one).

    Args:
        retry_after_seconds: what the operator asked for; never waited less than that, at most
            half of it longer.
    """
    plain = min(FIRST_SECONDS * 2.0 ** min(attempts - 1, _MOST_DOUBLINGS), CAP_SECONDS)
    digest = hashlib.sha256(f"geneveil backoff {seed} {attempts}".encode()).digest()
    fraction = int.from_bytes(digest[:6]) / 2**48
    if retry_after_seconds > 0:
        return retry_after_seconds * (1 + fraction / 2)
    return plain * (0.5 + fraction)
