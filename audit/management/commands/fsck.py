"""Check the trail from its source rows up."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from audit import fsck


class Command(BaseCommand):
    help = "Recompute leaves, tiles, heads and checkpoints and compare. Exit code 1 if anything is wrong."
    # Needs no view and no page: starts in a third of the time, and whatever else may be broken.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("workspace", nargs="*", type=UUID, help="ids; default: all")
        parser.add_argument("--json", action="store_true", help="one JSON object a log")

    def handle(self, *args: Any, **options: Any) -> None:
        reports = [fsck.check(workspace) for workspace in options["workspace"] or fsck.workspaces()]
        for report in reports:
            if options["json"]:
                self.stdout.write(json.dumps(asdict(report), default=str, sort_keys=True))
                continue
            state = "whole" if not report.problems else "WRONG"
            self.stdout.write(
                f"{report.workspace}  {state}: {report.records} records, {report.leaves} in the tree, "
                f"{report.pending} pending, {report.checkpoints} checkpoints"
            )
            for problem in report.problems:
                self.stdout.write(f"  {problem}")
        if any(report.problems for report in reports):
            raise CommandError("The trail is not whole.")
