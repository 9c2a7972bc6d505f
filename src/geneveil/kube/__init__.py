"""The Kubernetes API: objects to values and back."""
