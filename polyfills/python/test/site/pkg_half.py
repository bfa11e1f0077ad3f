import pkg_patches
import pkg_spread.part
import pkg_random
