"""A command whose help ends with an example, which click leaves as it is written."""

from __future__ import annotations

from typing import Any

import click


class Command(click.Command):
    def __init__(self, *args: Any, example: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        with formatter.section("Example"):
            for line in self.example.splitlines():
                formatter.write(f"  {line.strip()}\n")
