"""The line of requests in front of the store: bounded, in order, worked off in batches."""
