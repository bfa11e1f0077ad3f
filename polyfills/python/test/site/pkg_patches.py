"""Changes what belongs to other modules."""
import logging
import platform

import pkg_lazy.moves
import pkg_tree

platform.system()
pkg_tree.added = pkg_lazy.moves.colorsys
pkg_tree.early.value = "patched"
logger = logging.getLogger("pkg.patches")
