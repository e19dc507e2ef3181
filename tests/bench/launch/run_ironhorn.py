"""The `ironhorn` command, of whichever build PYTHONPATH leads to."""

import sys

from ironhorn.__main__ import main

sys.exit(main())
