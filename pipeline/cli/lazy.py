"""A group of commands that imports a command when it is called, so that --help does not wait for torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup, TyperOption

if TYPE_CHECKING:
    from collections.abc import Mapping


class LazyGroup(TyperGroup):
    """Commands by name: where each is defined (``module:attribute``), and one sentence for --help."""

    path: ClassVar[str]
    about: ClassVar[str]
    table: ClassVar[Mapping[str, tuple[str, str]]]

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 (the signature is click's)
        """Names in the table's order."""
        return list(self.table)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 (the signature is click's)
        """The command, imported."""
        if cmd_name not in self.table:
            return None
        module, attribute = self.table[cmd_name][0].split(":")
        found = getattr(import_module(module), attribute)
        if isinstance(found, typer.Typer):
            return typer.main.get_group(found)
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        alone.command(cmd_name)(found)
        return typer.main.get_command(alone)

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 (the signature is click's)
        """The table, without importing any command."""
        rows = Table(box=None, show_header=False, padding=(0, 2))
        for name, (_, sentence) in self.table.items():
            rows.add_row(f"[bold cyan]{name}[/]", sentence)
        for option in self.params:
            if isinstance(option, TyperOption):
                rows.add_row(f"[bold cyan]{option.opts[0]}[/]", option.help)
        out = Console(highlight=False)
        out.print(f"\n[bold]Usage:[/] {self.path} COMMAND …\n\n{self.about}\n")
        out.print(rows)
        out.print("\nEvery command has --help with an example, and --json.")
