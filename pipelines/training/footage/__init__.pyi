from .clips import Record as Record
from .prepare import Outcome as Outcome
from .prepare import Step as Step
from .prepare import prepare_set as prepare_set
from .sources import find_videos as find_videos
from .sources import read_table as read_table
