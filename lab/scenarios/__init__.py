"""Situations: a folder each, with what happens and what must come out."""
