from . import early
