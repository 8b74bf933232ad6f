"""`python -m apit` is `apit`."""

import sys

from apit.cli import main

sys.exit(main())
