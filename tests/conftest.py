"""What holds for every test: the same examples in each run, and no hurry."""

from hypothesis import HealthCheck, settings

_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# A change is judged by the same examples each time; `--hypothesis-profile=explore` seeks new ones.
settings.register_profile("repeatable", _PATIENT, derandomize=True)
settings.register_profile("explore", _PATIENT, max_examples=1000)
settings.load_profile("repeatable")
