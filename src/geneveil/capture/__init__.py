"""Reads captures of the underlay wire. `wire` parses, `io` opens files."""
