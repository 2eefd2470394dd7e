from .eyes import EyePatch as EyePatch
from .mouth import Mouth as Mouth
from .seam import snap_seam as snap_seam
