"""What keeps a node's trust current: the watch, renewal, CRLs.

`crls` and `watch` decide from bytes and answers, `renewal` says when and what is wrong, `files`
is the order in which a new key and certificate take the place of the old ones, `io` holds the two
threads that talk to the operator.
"""
