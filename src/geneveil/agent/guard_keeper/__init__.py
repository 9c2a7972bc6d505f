"""Keeps the guard as it was last asked for, at once and whatever else the agent waits for."""
