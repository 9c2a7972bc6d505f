"""Counts Geneve in clear on the wire's side of everything else: the guard's own witness.

A table of its own, `netdev geneveil`, with chains at the interface itself. It never drops.
"""
