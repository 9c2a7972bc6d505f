"""The node's program: observe, decide, apply, over and over.

`config` and `ratchet` say whether and how this node encrypts; `store` keeps its files; `observe`
gathers one picture of OVSDB, charon, nftables, kernel and trust; `decide` is pure and says what to
do; `apply` does it through the adapters; `loop` only turns the crank.
"""
