"""The agent of a Kubernetes cluster: objects of the API instead of an operator's HTTPS.

Which one an agent speaks is chosen in `geneveil.agent.plane`; nothing else knows.
"""
