"""Putting geneveil into a Kubernetes cluster: what is applied, in which order, and what changes.

`wish`, `render`, `okd` and `plan` are pure; `port` is what is asked of an API server, and `io` asks
it. The manifests are made from the Helm chart and shipped as data; both are deploy/'s.
"""
