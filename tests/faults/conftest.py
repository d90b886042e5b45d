"""Makes `runs` and `toy_run` importable, and launch/ as well."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "training"), os.path.join(os.path.dirname(os.path.dirname(HERE)), "launch")]
