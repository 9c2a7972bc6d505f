"""Trust, decided without IO: authorities, certificates, requests and the checks on them.

Glossary: an *authority* is a CA with its key; a *request* is a node's CSR; *facts* are what a
request says, read once; a *finding* is one thing that is wrong, with a stable reason word; a
*trust bundle* is the list of CA certificates that a node believes.

Time, randomness and keys come in as arguments. Nothing here opens a file or a socket.
"""
