"""What a tool server offers, with the digests that contracts pin: `manage.py pin_definitions git`."""

import json
from argparse import ArgumentParser

from django.core.management.base import BaseCommand, CommandError

from gateway import endpoints, launchers
from gateway.transport import close, definitions


class Command(BaseCommand):
    """List a tool server's definitions and their digests. Starts or reaches the server; calls no tool."""

    help = "List the tools behind a launcher or an endpoint with the digests that contracts pin (transport.definition)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="A launcher in the launchers file.")
        parser.add_argument("--endpoint", action="store_true", help="The name is that of an endpoint.")
        parser.add_argument("--json", action="store_true", help="Whole definitions as JSON, to write contracts from.")

    def handle(self, *args: object, **options: object) -> None:
        try:
            tools = definitions.fetch(str(options["name"]), endpoint=bool(options["endpoint"]))
        except (
            launchers.LauncherUnknown,
            launchers.LaunchersInvalid,
            endpoints.EndpointUnknown,
            endpoints.EndpointInvalid,
            definitions.DefinitionsUnavailable,
        ) as error:
            raise CommandError(str(error)) from error
        finally:
            close()
        if options["json"]:
            self.stdout.write(json.dumps(tools, indent=2, sort_keys=True))
            return
        width = max(map(len, tools), default=0)
        for name, tool in sorted(tools.items()):
            self.stdout.write(f"{name:{width}}  {tool['digest']}")
