from .manifest import ManifestError as ManifestError
from .manifest import Plan as Plan
from .manifest import cross as cross
from .manifest import read_manifest as read_manifest
from .run import Processes as Processes
from .run import Step as Step
from .run import run_batch as run_batch
