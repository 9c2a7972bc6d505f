"""What this node should have, and what to do about the difference. Pure.

    tunnels ──checks──> pairs ──plan──> connections and guard
                                             │
    charon, as read ────────────────────> diff ──> actions ──> (the agent applies them)

Who of a pair initiates, and when, is in `initiation`. Nothing here knows sockets, files or clocks.
"""
