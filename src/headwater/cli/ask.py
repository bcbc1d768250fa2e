"""`headwater ask`."""

from __future__ import annotations

import click

from headwater.cli import asking
from headwater.cli.answer import shown


@click.command(epilog='Example: headwater ask "Why is the sky blue?" --model smollm2-135m')
@click.argument("prompt", nargs=-1)
@click.option("--model", metavar="M", help="Model; else the first that is ready.")
@click.option("--server", metavar="URL", help="Ask this server; else this process does the work.")
@click.option("--no-stream", is_flag=True, help="Print the answer when it is whole.")
def command(
    prompt: tuple[str, ...], model: str | None, server: str | None, no_stream: bool
) -> None:
    """Stream the answer to PROMPT, or to what is piped in, into the terminal.

    Ends with the time to the first token, the time in all, and tokens a second. A server that wants
    a key gets the one in HEADWATER_API_KEY. Ctrl-C stops the stream.
    """
    text = asking.prompt_of(prompt, 'headwater ask "Why is the sky blue?"')
    with shown(live=not no_stream) as answer:
        asking.ask(text, model, server, answer.add)
