"""What is told of streams to those who run them: metrics, spans, logs. Never what they say."""

from headwater.observe.observer import Ended, Left, Observer, Try, Watch
from headwater.observe.process import metrics_page, observer_of_process, shared_metrics

__all__ = [
    "Ended",
    "Left",
    "Observer",
    "Try",
    "Watch",
    "metrics_page",
    "observer_of_process",
    "shared_metrics",
]
