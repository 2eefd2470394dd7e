from .drive import drive_portrait as drive_portrait
from .options import ModaError as ModaError
from .options import TalkOptions as TalkOptions
from .render import Progress as Progress
from .render import render_motion as render_motion
from .talk import TalkingHead as TalkingHead
