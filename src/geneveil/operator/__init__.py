"""The cluster's operator, standalone: sealed configuration, authority, signer, audit log.

config ──seal──> store (SQLite)          state directory: lock, keys, database
request ──> enrolment: gather ──> decide (pure, geneveil.pki) ──> write, then answer
server: HTTPS on top; loop: starts, renews the server's certificate, stops
"""
