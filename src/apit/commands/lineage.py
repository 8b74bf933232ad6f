"""Commands on versions of the code: versions, accept."""

import argparse
import getpass
import json
import subprocess
from datetime import UTC, datetime

from apit.commands.scales import runs_of


def versions(parsed: argparse.Namespace) -> None:
    """`apit versions`."""
    from apit.files import whole_file
    from apit.lineage import versions_of

    found = versions_of(runs_of(parsed))
    with whole_file(parsed.output) as partial:
        partial.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{parsed.output}: versions of {len(found)} parts of the code")


def accept(parsed: argparse.Namespace) -> None:
    """`apit accept`."""
    from apit.lineage import ACCEPTED, accept

    by = subprocess.run(("git", "config", "user.name"), capture_output=True, text=True, check=False)
    name = by.stdout.strip() or getpass.getuser()
    date = datetime.now(UTC).date().isoformat()
    parts = accept(runs_of(parsed), parsed.since, name, date, parsed.why)
    said = f"{ACCEPTED}: {', '.join(parts)}" if parts else "nothing has changed"
    print(f"{said}; results as of {parsed.since} are as good as today's")
