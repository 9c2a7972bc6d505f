"""The operator of a Kubernetes cluster: the same decisions, with API objects as their memory.

ledger ── rows <-> objects (pure)         store ── a Store in memory, written through to objects
decide_signing ── one CSR (pure)          signer ── gathers, decides, writes the answer
claims ── which Node is which chassis     caretaker ── Nodes that are gone, NodeIPsecs, old CSRs
orders ── what people write on a NodeIPsec (pure)
election ── who leads (pure)              elector/ ── keeps the Lease
publication, cluster_status ── what nodes and people are told (pure)
session/, process/ ── the loops
"""
