"""What the kernel says when somebody changes nftables or the IPsec database.

`wire` tells whether a change is of our table and who made it, `io` listens. What the change came
to is then read anew by whoever is called: a notification is a reason to look, never an answer.
"""
