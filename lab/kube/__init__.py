"""A real Kubernetes API server with its etcd, for tests and for labs.

There is no kubelet, no scheduler and no controller manager: what those would do, a test does.
"""
