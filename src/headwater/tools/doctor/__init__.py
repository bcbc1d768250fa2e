"""Does a stream reach here as a stream? Measurements in, findings out.

`examination` asks; `checks` judges, without any I/O; `hops` says who stands between, and
`remedies` which line of whose configuration to change.
"""

from headwater.tools.doctor.examination import Subject, examine
from headwater.tools.doctor.foreign import compared
from headwater.tools.doctor.report import Check, Report

__all__ = ["Check", "Report", "Subject", "compared", "examine"]
