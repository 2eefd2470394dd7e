from .landmarker import FaceLandmarker as FaceLandmarker
from .landmarker import Landmarks as Landmarks
from .model_file import FaceModelError as FaceModelError
from .model_file import canonical_vertices as canonical_vertices
from .model_file import load_model as load_model
from .reference import reference_landmarks as reference_landmarks
