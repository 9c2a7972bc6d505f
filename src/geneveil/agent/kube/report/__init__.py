"""Writes the node's status into its NodeIPsec."""
