"""`geneveil` for which a request is too old after a second, not an hour. Run as a program.

python -m tests.kube.impatient_program ARGS
"""

from datetime import timedelta

from geneveil.cli.app import main
from geneveil.operator.kubernetes import decide_signing

if __name__ == "__main__":
    decide_signing.MOST_AGE = timedelta(seconds=1)
    main()
