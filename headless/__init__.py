"""A batch-job client for PLANTA project servers, and a server to rehearse with."""

import sys

if sys.version_info < (3, 9):  # for `headless`: no other file but __main__.py can be read by such a Python
    sys.stderr.write("headless: error: this is Python %d.%d, Python 3.9 or later is needed\n" % sys.version_info[:2])
    sys.exit(2)
