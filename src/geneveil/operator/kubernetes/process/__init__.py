"""`geneveil operator run --kubernetes`."""
