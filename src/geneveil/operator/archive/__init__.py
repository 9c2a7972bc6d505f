"""Backups on the disk: written whole, restored whole."""
