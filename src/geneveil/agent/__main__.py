"""`python -m geneveil.agent CONFIG`: what `geneveil agent` turns into."""

import sys
from pathlib import Path

from geneveil.agent.fallback.io import guard_without_config
from geneveil.agent.logfmt import set_up_logging
from geneveil.agent.loop import run_agent
from geneveil.agent.store import read_agent_config
from geneveil.agent.unexpected import whereabouts
from geneveil.model.errors import ConfigError, GeneveilError

UNEXPECTED_EXIT_STATUS = 70
"""EX_SOFTWARE of sysexits.h."""


def main(arguments: list[str]) -> int:
    """Run until a signal comes; returns the exit status."""
    set_up_logging()
    path = Path(arguments[0])
    try:
        try:
            config = read_agent_config(path)
        except ConfigError:
            guard_without_config(path, lambda text: print(f"geneveil: {text}", file=sys.stderr))
            raise
        run_agent(config)
    except GeneveilError as error:
        sys.stderr.write(f"geneveil: {error.render()}\n")
        return error.exit_status
    except Exception as error:  # a mistake of ours: one line for people, and no success
        sys.stderr.write(f"geneveil: the agent ended because of {whereabouts(error)}\n")
        return UNEXPECTED_EXIT_STATUS
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
