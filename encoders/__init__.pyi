from .emotion import Prototype as Prototype
from .emotion import parse_emotion as parse_emotion
from .identity import LIP_CONTACT as LIP_CONTACT
from .identity import encode_identity as encode_identity
