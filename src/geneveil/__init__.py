"""IPsec for the OVN-Kubernetes cluster network that fails closed and proves what it does."""

__version__ = "0.1.0"
