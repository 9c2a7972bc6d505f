"""Watches: thousands of questions that are held until something changes."""
