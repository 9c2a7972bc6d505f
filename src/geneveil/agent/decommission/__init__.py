"""A node leaves the cluster for good: everything of ours goes, and nothing of anybody else."""
