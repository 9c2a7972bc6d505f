"""Keeps the Lease."""
