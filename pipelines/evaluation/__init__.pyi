from .evaluate import FRONT_END as FRONT_END
from .evaluate import REAL as REAL
from .evaluate import Estimate as Estimate
from .evaluate import Report as Report
from .evaluate import compare as compare
from .evaluate import evaluate_sets as evaluate_sets
