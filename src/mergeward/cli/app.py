"""The entry point: every failure that a user can cause becomes one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import Abort, TyperException

from mergeward.cli.audit import EXIT_CODES as AUDIT_EXIT_CODES
from mergeward.cli.audit import AuditCommand, audit_command
from mergeward.cli.bench import bench_app
from mergeward.cli.contribute import attack_command, finetune_command
from mergeward.cli.convert import convert_command
from mergeward.cli.demo import demo_command
from mergeward.cli.evaluate import evaluate_command
from mergeward.cli.harden import harden_command
from mergeward.cli.inspect import inspect_command
from mergeward.cli.listing import list_command
from mergeward.cli.merge import merge_command
from mergeward.cli.reference import reference_command
from mergeward.cli.system import as_ours
from mergeward.cli.terminal import complain, hush, show_progress
from mergeward.cli.testbed import testbed_app
from mergeward.cli.tradeoff import tradeoff_command
from mergeward.cli.trigger import trigger_app
from mergeward.errors import INTERRUPTED_EXIT_CODE, MergewardError, unknown_name
from mergeward.provenance import package_version

EXIT_CODES = """
Exit codes: 0 done, 1 refused by its result (a suspect, a collapse), 2 unknown name or option, 3 recipe,
4 model file, 5 images, 6 method does not apply, 7 output cannot be written, 130 interrupted. 'mergeward
audit' and 'mergeward bench' have their own.
"""

app = typer.Typer(
    name="mergeward",
    help="Merge neural-network checkpoints that other people trained, and know what you let in.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"mergeward {package_version()}")
        raise typer.Exit


@app.callback()
def global_options(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit."),
    ] = False,
) -> None:
    """Hold the options of the program itself."""


app.command("merge")(merge_command)
app.command("audit", cls=AuditCommand, epilog=AUDIT_EXIT_CODES)(audit_command)
app.command("reference")(reference_command)
app.command("inspect")(inspect_command)
app.command("convert")(convert_command)
app.command("harden")(harden_command)
app.command("evaluate")(evaluate_command)
app.command("tradeoff")(tradeoff_command)
app.command("finetune")(finetune_command)
app.command("attack")(attack_command)
app.command("demo")(demo_command)
app.command("list")(list_command)
app.add_typer(bench_app, name="bench")
app.add_typer(trigger_app, name="trigger")
app.add_typer(testbed_app, name="testbed")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code.

    Args:
        arguments: What follows the program's name; by default the process's own.
    """
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; see `main`."""
    # The Hugging Face libraries draw bars of their own, on pipes too; they read this when they are imported.
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    try:
        with show_progress():
            code = app(args=None if arguments is None else list(arguments), standalone_mode=False)
    except (KeyboardInterrupt, Abort):
        code = INTERRUPTED_EXIT_CODE
    except MergewardError as error:
        return complain(str(error), error.exit_code)
    except TyperException as error:
        # Without a message it is a bare `mergeward`, and the help has been shown.
        message = _message(error)
        return complain(message, error.exit_code) if message else error.exit_code
    except BrokenPipeError:
        hush()
        return 0
    except OSError as error:
        ours = as_ours(error)
        if ours is None:
            raise
        return complain(str(ours), ours.exit_code)
    # Typer itself turns Ctrl-C within a command into this code, without a word.
    if code == INTERRUPTED_EXIT_CODE:
        return complain("interrupted; nothing half-written was left", INTERRUPTED_EXIT_CODE)
    return code if isinstance(code, int) else 0


def _message(error: TyperException) -> str:
    """What a parse error says; a mistyped option reads as every other unknown name does."""
    option, similar = getattr(error, "option_name", None), getattr(error, "possibilities", None)
    return str(unknown_name("option", option, similar)) if option and similar else error.format_message()
