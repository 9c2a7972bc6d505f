"""The lab: an OVN cluster on real kernels, on one machine, with a witness on its wire.

    host
    └─ lab NAME: own network, mount and PID namespace; `lab.supervisor` is its PID 1
       ├─ underlay bridge ── eth0 of node1..nodeN     cluster traffic alone
       │     └─ witness: tcpdump, started before the first guest
       ├─ management bridge ── mgmt0 of every guest   SSH, OVN southbound, enrolment
       ├─ central                                     User-Mode Linux: OVN central, operator
       └─ node1..nodeN                                User-Mode Linux: Open vSwitch,
                                                      ovn-controller, charon, agent, pods

Everything that runs belongs to one PID namespace: when the supervisor ends, however it ends, the
kernel takes guests, taps, namespaces and mounts with it.

`python -m lab --help` says what it can do. Nothing in geneveil imports the lab; the lab imports
only values and verdicts (`geneveil.model`, `geneveil.verify`, `geneveil.capture`) and starts
geneveil's programs as processes, as a user would.
"""
