"""Judges what a witness on the wire saw: flow matrix, captured frames, SA keys -> verdict.

Pure: no clock, no files, no sockets. `evidence` defines what the judge is told, `judge` decides,
`verdict` is what it says, `html` and `diagram` draw it.

Theory of operation. Every probe carries a mark that nothing else on earth carries. `scan` reads
each frame of a capture once: it looks for marks in the frame as it is (a mark found there was
readable by anybody on the wire), and, where the frame is ESP, decrypts it with the SA's key and
looks again. `judge` then asks of each probe what became of it, compares that with the rule in
`flows`, and asks of the capture itself whether it can be believed.
"""
