from .base import Background as Background
from .base import Renderer as Renderer
from .base import RenderError as RenderError
from .framing import Frame as Frame
from .framing import Framing as Framing
from .framing import Scene as Scene
from .mesh import MeshRenderer as MeshRenderer
