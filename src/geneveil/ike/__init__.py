"""charon over VICI: connections, credentials, SAs, events.

`wire` turns values into VICI messages and back, `io` owns the sockets, `port` is what the agent
asks for. Everything is loaded into charon's memory; no file of charon's is written or read.
"""
