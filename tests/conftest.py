"""What holds for every test: the same examples in each run, no hurry, and Ctrl-C that is heard."""

import signal

from hypothesis import HealthCheck, settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Whoever runs the tests in the background of a script has Ctrl-C ignored, and every program
    # that a test starts would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# A change is judged by the same examples each time; `--hypothesis-profile=explore` seeks new ones.
settings.register_profile("repeatable", _PATIENT, derandomize=True)
settings.register_profile("explore", _PATIENT, max_examples=1000)
settings.load_profile("repeatable")
