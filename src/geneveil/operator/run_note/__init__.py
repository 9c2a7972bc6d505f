"""What a running operator tells the commands on its machine about its run."""
