"""ui: run the web application."""

from typing import Annotated

import typer


def ui(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 picks a free one.")] = 8090,
    browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Run the web application: a calculator of what traffic costs, and answers about files of your own."""
    from meritorder.web.app import serve as serve_pages

    def announce(url: str) -> None:
        typer.echo(f"meritorder: open {url} in a browser; Ctrl-C stops it")
        if browser:
            typer.launch(url)

    typer.echo("preparing the simulator", err=True)
    serve_pages(host, port, announce)
