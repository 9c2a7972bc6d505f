"""Reads the kernel's IPsec database (XFRM) over netlink: what really protects the traffic.

`wire` is bytes to values, `io` the socket, `port` what the agent asks. Nothing is ever written:
states and policies are charon's to make.
"""
