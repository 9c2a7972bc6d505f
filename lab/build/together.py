"""Runs several builds at once; the first failure, or Ctrl-C, stops the others."""

from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any

from lab.build.progress import Reporter
from lab.build.workbench import Stop


def run_together(jobs: list[Callable[[], Any]], stop: Stop, reporter: Reporter) -> list[Any]:
    """The jobs' results, in order.

    Raises:
        BuildError: that of the first job that failed.
        KeyboardInterrupt: passed on once all programs are ended and all half-made folders removed.
    """
    with ThreadPoolExecutor(max(len(jobs), 1)) as pool:
        try:
            futures = [pool.submit(job) for job in jobs]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException as error:
            # Leaving the pool waits for its threads: their programs must be ended first.
            stop.now()
            if isinstance(error, KeyboardInterrupt):
                reporter.say("interrupted; removing what is half made")
            raise
    return [future.result() for future in futures]
