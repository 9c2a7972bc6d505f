"""The Kubernetes API, as agent and operator use it: documents in, documents out.

port ── what is asked of an API server        kinds ── the resources that geneveil touches
errors ── what an answer can mean             access ── where it is and who we are (kubeconfig, Pod)
request ── what is sent, and what answers say (pure)
server_clock ── what time it is there
io ── the client                              loop ── list and watch, for as long as it takes
*_wire ── documents <-> values, pure


Why no client library: docs/decisions/0011-lean-kubernetes-client.md.
"""
