"""`headwater ask`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from contextlib import closing

import click

from headwater.cli.answer import Answer


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
    text = _prompt(prompt)
    answer = Answer(live=not no_stream)
    try:
        if server is None:
            asyncio.run(_in_process(text, model, answer))
        else:
            _from_server(server, text, model, answer)
    except BaseException:
        answer.leave()
        raise
    answer.finish()


def _prompt(words: tuple[str, ...]) -> str:
    piped = not words and not sys.stdin.isatty()
    text = sys.stdin.read() if piped else " ".join(words)
    if not text.strip():
        raise click.UsageError('Nothing to ask. Try: headwater ask "Why is the sky blue?"')
    return text


async def _in_process(prompt: str, model: str | None, answer: Answer) -> None:
    from headwater.api import Headwater

    # The log repeats what the error line says, for those who run a server.
    logging.getLogger("headwater").addHandler(logging.NullHandler())
    headwater = Headwater()
    try:
        # Ctrl-C cancels this task, and leaving the loop stops the upstream.
        async for event in headwater.stream(prompt, model=model):
            answer.add(event)
    finally:
        await headwater.aclose()


def _from_server(server: str, prompt: str, model: str | None, answer: Answer) -> None:
    from headwater.cli.remote import Remote

    remote = Remote(server, os.environ.get("HEADWATER_API_KEY"))
    with closing(remote.stream(prompt, model)) as events:
        for event in events:
            answer.add(event)
