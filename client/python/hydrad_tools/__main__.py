"""``python -m hydrad_tools``: the same as the ``hydrad-tools`` console script."""

import sys

from hydrad_tools.cli import main

sys.exit(main())
