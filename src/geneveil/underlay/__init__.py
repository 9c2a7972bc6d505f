"""Which network interface holds which address: where the wire is, and how much it takes."""
