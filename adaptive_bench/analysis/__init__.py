"""From a results folder to tables, figures and a page. Works from files alone and imports nothing that trains.

Figures are imported apart (`from adaptive_bench.analysis import figures`), because matplotlib is slow to load.
"""

from .across import Across, across
from .compare import Comparison, difference, holm, ratio
from .detectable import detectable
from .device import Profile, read_profile, replay
from .goals import Goal, read_goals, write_goals
from .intervals import Interval, log_t_interval, t_interval
from .notes import notes
from .published import Claim, Replication, read_claims
from .read import Runs, read
from .render import print_text, render
from .report import report
from .tables import Table, table
from .targets import Crossing, costs, crossing, levels

__all__ = [
    "Across",
    "Claim",
    "Comparison",
    "Crossing",
    "Goal",
    "Interval",
    "Profile",
    "Replication",
    "Runs",
    "Table",
    "across",
    "costs",
    "crossing",
    "detectable",
    "difference",
    "holm",
    "levels",
    "log_t_interval",
    "notes",
    "print_text",
    "ratio",
    "read",
    "read_claims",
    "read_goals",
    "read_profile",
    "render",
    "replay",
    "report",
    "t_interval",
    "table",
    "write_goals",
]
