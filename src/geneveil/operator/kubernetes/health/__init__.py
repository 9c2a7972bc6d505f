"""What probes ask."""
