"""The bolt: the guard's rules once more, in a table that nobody but the agent can take away."""
