"""An echo in IP protocol 50 between two agents: does ESP get through, while nothing depends on it?

`wire` is the datagram, `io` the raw sockets, `port` what the agent asks for.
"""
