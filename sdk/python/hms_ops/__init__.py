"""What a service says about itself to its control tower, and what should happen then.

    from hms_ops import Metric
    Metric.emit("photo.upload.ok", 1)
"""

from .alert import Alert, Heal
from .error import Error
from .metric import Metric, Stats

__all__ = ["Alert", "Error", "Heal", "Metric", "Stats"]
__version__ = "0.1.0"
