from .files import replacing as replacing
from .files import sha256 as sha256
from .train import Example as Example
from .train import TrainConfig as TrainConfig
from .train import train_motion as train_motion
