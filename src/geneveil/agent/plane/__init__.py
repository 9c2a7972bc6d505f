"""The control plane: who gives this node its certificate, and who hears how it is."""
