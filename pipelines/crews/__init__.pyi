from .crews import Crew as Crew
from .crews import Died as Died
from .crews import Processes as Processes
from .crews import RayActors as RayActors
from .crews import Ready as Ready
from .worker import Outcome as Outcome
from .worker import Task as Task
