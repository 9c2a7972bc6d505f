"""`geneveil` on a machine whose clock is wrong. Run as a program.

python -m tests.kube.skewed_program DAYS-AHEAD ARGS
"""

import sys
from datetime import UTC, datetime, timedelta

from geneveil.cli.app import main
from geneveil.model.clock import SystemClock

if __name__ == "__main__":
    ahead = timedelta(days=int(sys.argv[1]))
    del sys.argv[1]

    def now(self: SystemClock) -> datetime:
        return datetime.now(UTC).replace(microsecond=0) + ahead

    SystemClock.now = now  # type: ignore[method-assign]
    main()
