"""What a command does when it can't: says what is wrong and what to do next, and ends with a status that tells which.

0   done
1   checked, and found wrong: an auction that breaks a rule, a result with another digest
2   wrong options, arguments or task file
3   the node is not running
4   refused, by the node, a peer or a contract
5   the task failed, was cancelled, or its program ended with an error
6   not now: try again later
7   configuration, keys or disk
70  a bug of Stoa
130 interrupted
"""

import json
import sys
import traceback
from enum import IntEnum
from typing import cast

from rich.console import Console
from rich.markup import escape

from node.api.errors import NodeNotRunning, RemoteBug
from protocol.errors import ChainRejected, ConfigError, ProtocolError, StoaError, StorageError, TransientError


class ExitCode(IntEnum):
    """Exit statuses; see the module."""

    DONE = 0
    WRONG = 1
    USAGE = 2
    NOT_RUNNING = 3
    REFUSED = 4
    TASK_FAILED = 5
    LATER = 6
    SETUP = 7
    BUG = 70
    INTERRUPTED = 130


class UsageMistake(ConfigError):
    """The command was given something that it can't work with."""


class FoundWrong(ProtocolError):
    """Something was checked and does not hold."""


def exit_code_of(error: BaseException) -> ExitCode:
    """Return the status with which a command ends for `error`."""
    match error:
        case FoundWrong():
            return ExitCode.WRONG
        case UsageMistake():
            return ExitCode.USAGE
        case NodeNotRunning():
            return ExitCode.NOT_RUNNING
        case RemoteBug():
            return ExitCode.BUG
        case ProtocolError() | ChainRejected():
            return ExitCode.REFUSED
        case TransientError():
            return ExitCode.LATER
        case ConfigError() | StorageError():
            return ExitCode.SETUP
        case _:
            return ExitCode.BUG


def unwrap(error: BaseException) -> BaseException:
    """Return what is inside the groups that nurseries make: the first interrupt, else the first bug, else the first."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    causes = [unwrap(cause) for cause in cast("BaseExceptionGroup[BaseException]", error).exceptions]
    causes.sort(key=lambda cause: (not isinstance(cause, KeyboardInterrupt), isinstance(cause, StoaError)))
    return causes[0]


def report(error: BaseException, *, json_output: bool, debug: bool) -> ExitCode:
    """Tell the user, on standard error, and return the exit status."""
    code = exit_code_of(error)
    if debug:
        traceback.print_exception(error)
    if isinstance(error, StoaError):
        message, advice = str(error), error.advice
    else:
        message = f"a bug of Stoa: {type(error).__name__}: {error}"
        advice = "Run the command again with --debug and report what it prints."
    if json_output:
        kind = getattr(error, "kind", "") or type(error).__name__
        document = {"error": {"kind": kind, "message": message, "advice": advice, "exit_code": int(code)}}
        print(json.dumps(document), file=sys.stderr)  # noqa: T201 - the command's output
        return code
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(f"[bold red]Error:[/] {escape(message)}")
    if advice:
        console.print(f"[bold]What to do:[/] {escape(advice)}")
    return code
