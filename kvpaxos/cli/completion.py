"""``kvpaxos completion``: what makes a shell complete the commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from kvpaxos.cli.command import Command


@click.command(
    cls=Command,
    statuses={0: "the script is printed", 2: "there is none for that shell"},
    examples=[
        'eval "$(kvpaxos completion bash)"                    # in ~/.bashrc',
        'eval "$(kvpaxos completion zsh)"                     # in ~/.zshrc',
        "kvpaxos completion fish > ~/.config/fish/completions/kvpaxos.fish",
    ],
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands and options."""
    kind = get_completion_class(shell)
    assert kind is not None, "click knows all three"
    click.echo(kind(context.find_root().command, {}, "kvpaxos", "_KVPAXOS_COMPLETE").source())
