"""Watches the tunnels in Open vSwitch's local database.

`wire` turns rows into values, `io` keeps the connection in a thread of its own, `port` is what the
agent asks for. Nothing is ever written to the database.
"""
