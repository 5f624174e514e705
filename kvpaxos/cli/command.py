"""A command whose help ends with what its exit statuses mean, and with examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click
from typing_extensions import override


class Command(click.Command):
    """A sub-command of ``kvpaxos``.

    :ivar statuses: what each of its exit statuses means. That of a signal goes without saying.
    :ivar examples: command lines.
    """

    def __init__(
        self,
        *args: Any,  # noqa: ANN401 -- whatever click hands on
        statuses: Mapping[int, str],
        examples: Sequence[str],
        **others: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(*args, **others)
        self.statuses = statuses
        self.examples = examples

    @override
    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit status"):
            formatter.write_dl([(f"{status}", text) for status, text in self.statuses.items()])
        with formatter.section("Examples"):
            for example in self.examples:
                # As it is: what was wrapped could not be copied.
                formatter.write(f"{'':>{formatter.current_indent}}{example}\n")
