"""`geneveil operator …`: init, run, token, list, log."""

import typer

app = typer.Typer(help="The cluster's certificate authority and enrolment.", no_args_is_help=True)


@app.callback()
def _operator() -> None:
    pass
