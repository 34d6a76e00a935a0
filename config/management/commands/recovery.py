"""After a database came back: `python manage.py recovery check` and `accept`."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from django.utils import timezone

from audit import keys, verify
from audit.refusal import Refusal
from audit.uuid7 import uuid7
from config import recovery, server
from config.embedded.processes import StartFailed
from config.terms import Report, Terms
from registry.management.commands.init import person

NOT_WHOLE, NOT_PROVEN = 1, 3  # exit codes, as those of verify.py


class Command(BaseCommand):
    help = "Compare every log with checkpoints and receipts that were kept outside; accept what a database lacks."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        steps = parser.add_subparsers(dest="step", required=True)
        check = steps.add_parser("check", help="exit 1: something is missing or damaged; 3: nothing speaks for a log")
        check.add_argument("--json", action="store_true", help="one JSON object a log")
        accept = steps.add_parser("accept", help="go on with the database as it is, on record")
        accept.add_argument("--as", dest="username", required=True, help="who: an operator, security or admin")
        accept.add_argument("--reason", required=True, help="what happened, in one sentence")
        accept.add_argument(
            "--lost",
            metavar="WORKSPACE=SIZE",
            action="append",
            default=[],
            help="the records up to this published size cannot be restored; begins a new epoch of the log",
        )
        accept.add_argument(
            "--new-key",
            metavar="WORKSPACE",
            type=UUID,
            action="append",
            default=[],
            help="the key of this log cannot be restored; begins a new epoch of the log",
        )
        accept.add_argument(
            "--adopt",
            metavar="WORKSPACE",
            type=UUID,
            action="append",
            default=[],
            help="the copy outside of this log's last checkpoint is gone; go on from the one in the database",
        )
        accept.add_argument("--unproven", action="store_true", help="although nothing from outside speaks for a log")
        for step in (check, accept):
            step.add_argument(
                "--checkpoint", metavar="FILE", type=Path, action="append", default=[], help="kept outside"
            )
            step.add_argument("--receipt", metavar="FILE", type=Path, action="append", default=[], help="kept outside")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            evidence = recovery.Evidence(
                tuple(recovery.read_note(path.read_text(encoding="utf-8")) for path in options["checkpoint"]),
                tuple(line for path in options["receipt"] for line in path.read_text().split()),
            )
            with server.running(settings.ENV):
                getattr(self, f"_{options['step']}")(evidence, options)
        except Refusal as refusal:
            raise CommandError(f"{refusal.code}: {refusal.detail}") from refusal
        except UnicodeDecodeError as error:
            raise CommandError(f"A file that you gave is no text: {error}") from error
        except (StartFailed, OSError, DatabaseError, keys.KeyMissing, verify.NotVerified) as error:
            raise CommandError(str(error)) from error

    def _check(self, evidence: recovery.Evidence, options: dict[str, Any]) -> None:
        reports = recovery.check(evidence)
        for report in reports:
            if options["json"]:
                told = asdict(report.finding) | {
                    "damage": report.damage,
                    "whole": report.whole,
                    "proven": report.proven,
                }
                self.stdout.write(json.dumps(told, default=str, sort_keys=True))
                continue
            self._say(report)
        if not all(report.whole for report in reports):
            raise CommandError("Something is missing or damaged.", returncode=NOT_WHOLE)
        if not all(report.proven for report in reports):
            raise CommandError("Nothing is known to be missing; completeness is not proven.", returncode=NOT_PROVEN)

    def _say(self, report: Report) -> None:
        finding = report.finding
        state = ("whole, proven" if report.proven else "completeness not proven") if report.whole else "NOT WHOLE"
        self.stdout.write(
            f"{finding.workspace}  {state}: {finding.size} records, {finding.published} were published; continues "
            f"{finding.continued} checkpoint(s), holds {finding.receipts - len(finding.missing)} of {finding.receipts} "
            "receipt(s)"
        )
        for problem in (*finding.problems, *report.damage):
            self.stdout.write(f"  {problem}")
        for record in finding.missing:
            self.stdout.write(f"  the record {record}, for which there is a receipt, is missing")

    def _accept(self, evidence: recovery.Evidence, options: dict[str, Any]) -> None:
        terms = Terms(
            options["reason"],
            dict(map(_loss, options["lost"])),
            frozenset(options["new_key"]),
            frozenset(options["adopt"]),
            options["unproven"],
        )
        by, correlation_id = person(options["username"]), str(uuid7())
        done = recovery.accept(evidence, terms, by=by, now=timezone.now(), correlation_id=correlation_id)
        for line in done:
            self.stdout.write(line)
        self.stdout.write("Accepted, and on record." if done else "There was nothing to accept.")


def _loss(pair: str) -> tuple[UUID, int]:
    workspace, _, size = pair.partition("=")
    try:
        return UUID(workspace), int(size)
    except ValueError as error:
        raise CommandError(f"--lost takes WORKSPACE=SIZE, got {pair!r}.") from error
