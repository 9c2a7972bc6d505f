"""The guard of a host that runs geneveil in Pods: set by the host itself, at boot.

A Pod starts long after the network and Open vSwitch. What is put on the host is a unit of systemd
and a script for nft, which need nothing of geneveil. `plan` says what they hold, `io` writes them.
"""
