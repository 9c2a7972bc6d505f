"""What to do when the machine lacks something: it has another remedy than a mistake has. Pure."""

import errno

_FILES = "let the agent open more files (LimitNOFILE= of its unit), and find out what holds so many"
_REMEDIES = {
    errno.EMFILE: _FILES,
    errno.ENFILE: "the whole machine is out of open files: find out what holds them (fs.file-max)",
    errno.ENOSPC: "free space on the file system",
    errno.EDQUOT: "free space on the file system, or raise its quota",
    errno.EROFS: "mount the file system for writing; what stands goes on",
    errno.ENOMEM: "free memory, or raise the agent's limit (MemoryMax= of its unit)",
    errno.EIO: "the disk fails: look at the kernel's log",
}


def remedy_for(error: OSError, otherwise: str) -> str:
    """The remedy for what the machine lacks; `otherwise` if the error says no such thing."""
    return _REMEDIES.get(error.errno or 0, otherwise)
