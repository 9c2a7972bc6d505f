"""Netlink framing and sockets: what every adapter that speaks to the kernel this way needs.

`wire` is bytes to messages and attributes, `io` the sockets. It knows no family.
"""
