"""The latest moment that the operator believed, on the disk."""
