"""Holds the watch on the ConfigMap with the cluster's trust."""
