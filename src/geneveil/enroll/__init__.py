"""The node's side of enrolment: from a join token to a certificate and a trust bundle.

    token ──parse──> pin ──> GET /v1/bootstrap (unverified; only the pinned authority is kept)
                             GET /v1/bootstrap (TLS 1.3, verified against that authority alone)
                             POST /v1/enrol    (the same) ──> certificate, trust bundle, settings

`wire` is bytes and documents to values and back, `port` the protocol that the agent knows, `io`
the HTTPS client.
"""
