from pkg_effects import Thing
from . import nothing
