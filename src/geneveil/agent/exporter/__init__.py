"""The node's status as metrics, for Prometheus, on a loopback address. Off by default."""
