"""The `wherry` command: its verbs, and the one place where errors become exit codes."""

import os
import sys
from typing import Annotated

import typer

from wherry.cli import device, doctor, exporting, history, proving, publishing, scanning, serve, training_site, using
from wherry.cli.demo import story
from wherry.core.errors import UsageError, WherryError

_INTERRUPTED = 130

app = typer.Typer(
    name="wherry",
    help="Carry a trained model to every device that runs it, and prove that what arrived is what was trained.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"wherry {version('wherry')}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Carry a trained model to every device that runs it, and prove that what arrived is what was trained."""


for _room in (story, doctor, scanning, training_site, history, exporting, proving, publishing, using, device, serve):
    _room.add_to(app)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and end the process with the documented exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    sys.exit(run(words))


def run(words: list[str]) -> int:
    """Run one command and return its exit code: 0 done, 1 a bug, 2 usage, 3-7 as `wherry.core.errors` says."""
    try:
        result = app(args=words, prog_name="wherry", standalone_mode=False)
    except WherryError as error:
        return _report(error, words)
    except (KeyboardInterrupt, typer.Abort):
        return _stopped()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone: nothing to flush to
        return 0
    except ModuleNotFoundError as error:
        from wherry.cli.extras import missing

        absent = missing(error.name, extra="demo" if words[:1] == ["demo"] else None)
        return _bug(error, words) if absent is None else _report(absent, words)
    except Exception as error:
        if hasattr(error, "format_message"):
            return _report(UsageError(str(error.format_message())), words)
        return _bug(error, words)
    if result == _INTERRUPTED:
        return _stopped()
    return result if isinstance(result, int) else 0


def _stopped() -> int:
    typer.echo("wherry: stopped. Nothing is lost: run the same command again to carry on.", err=True)
    return _INTERRUPTED


def _report(error: WherryError, words: list[str]) -> int:
    from wherry.cli.output import tell
    from wherry.core.codec import to_json

    if "--json" in words:
        document = {
            "kind": type(error).__name__,
            "message": error.message,
            "next_step": error.next_step,
            "exit_code": error.exit_code,
        }
        sys.stdout.write(to_json({"error": document}).decode())
    tell(error)
    return error.exit_code


def _bug(error: Exception, words: list[str]) -> int:
    if os.environ.get("WHERRY_DEBUG"):
        import traceback

        traceback.print_exc()
    sentence = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {sentence[0] if sentence else 'no message'}"
    return _report(WherryError(text), words)
