from .guidance import Guidance as Guidance
from .path import draw_noise as draw_noise
from .path import motion_from as motion_from
from .path import training_point as training_point
from .sampler import SamplerConfig as SamplerConfig
from .sampler import sample as sample
from .windows import OVERLAP as OVERLAP
