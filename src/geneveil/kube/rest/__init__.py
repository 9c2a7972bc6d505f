"""A lean client of the Kubernetes API, for agents, who have to live in little memory."""
