"""`python -m temporal_fleet.demo`. Only the entry point belongs here."""

import sys

from temporal_fleet.demo.drive import main

sys.exit(main())
