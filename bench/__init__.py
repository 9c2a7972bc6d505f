"""Measurements. Each program here says what it measures and writes to out/bench/."""
