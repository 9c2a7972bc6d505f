"""What still has to be done when the configuration file cannot be used: the guard."""
