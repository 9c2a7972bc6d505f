"""Frozen values and words that all parts share: cluster settings, clock, errors.

Nothing here reads or writes; nothing here imports another geneveil package.
"""
