"""The nftables guard: Geneve leaves and arrives inside IPsec, or not at all.

`wire` holds the ruleset as values, `own_table` what it shares with the sentinel's, `io` runs `nft`,
`port` is what the agent asks of either. `bolt` has the same rules behind it, where nobody who
flushes everything can take them.
The guard is one table, `inet geneveil`, and nothing outside it is ever read for a decision or
changed. It stands before Open vSwitch starts and outlives every daemon.
"""
