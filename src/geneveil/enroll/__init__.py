"""The node's side of enrolment: from a join token to a certificate and a trust bundle.

    token ──parse──> pin ──> GET /v1/bootstrap (unverified; only the pinned authority is kept)
                             GET /v1/bootstrap (TLS 1.3, verified against that authority alone)
                             POST /v1/enrol    (the same) ──> certificate, trust bundle, settings

    certificate ──POST /v1/renew (mutual TLS)──> new certificate for a new key
                ──POST /v1/watch (mutual TLS, held)──> what to trust now, who is revoked

`wire` and `watch_wire` are bytes and documents to values and back, `port` the protocol that the
agent knows, `io` the HTTPS client, `backoff` how long to wait before asking again.
"""
