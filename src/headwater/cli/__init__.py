"""The `headwater` command.

One file a command, imported when it is asked for: `headwater --help` shows nothing that is worth
the half second that importing a web server costs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final, NoReturn

import click

from headwater.cli.terminal import say
from headwater.errors import ConfigurationError, HeadwaterError

#: Command to its module, which has it as `command`, and its line in `headwater --help`.
COMMANDS: Final = {
    "serve": ("serve", "Serve streams over HTTP."),
    "ask": ("ask", "Stream an answer into the terminal."),
    "compare": ("compare", "Ask streamed and whole, and measure what a reader sees."),
    "tail": ("tail", "Follow a stream of a server."),
    "stop": ("stop", "Stop a stream of a server."),
    "models": ("models", "List the models; fetch the embedded one."),
    "record": ("record", "Record an answer with its timings, as a tape."),
    "replay": ("replay", "Play a tape, faster or with a fault put in."),
    "doctor": ("doctor", "Tell whether streams arrive as streams, and who holds them back."),
    "proxy-config": ("proxy_config", "Print a proxy configuration that streams."),
}

_FAILED: Final = 1
_USAGE: Final = 2
_INTERRUPTED: Final = 130


class _Commands(click.Group):
    """Imports a command when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"headwater.cli.{COMMANDS[cmd_name][0]}").command
        assert isinstance(command, click.Command)  # noqa: S101 - for the type checker
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # click's own would import every command for its first sentence.
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(
    cls=_Commands,
    name="headwater",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: headwater serve --upstream http://127.0.0.1:11434/v1",
)
@click.version_option(package_name="headwater", message="headwater %(version)s")
def group() -> None:
    """Headwater, the streaming layer for AI products."""


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command that `args` (by default the process's) name, and exit with its status.

    0; 1 failed; 2 usage or configuration; 130 interrupted. An error is one line on stderr.
    """
    try:
        status = group.main(args, prog_name="headwater", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(_USAGE)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except ConfigurationError as error:
        _fail(error.message, _USAGE)
    except HeadwaterError as error:
        _fail(error.message, _FAILED)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(_INTERRUPTED)
    except Exception as error:
        # The last resort: whoever types a command is owed no traceback.
        _fail(f"unexpected {type(error).__name__}: {error}", _FAILED)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int) -> NoReturn:
    say(f"Error: {' '.join(message.split())}", err=True)
    sys.exit(status)
