"""HTTPS connections to an API server, kept open between requests."""
