"""Where the operator listens: TLS, and no more connections than it may have."""
