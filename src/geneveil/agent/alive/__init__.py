"""Whether the process that wrote a status still runs: by its id and the moment it started."""
