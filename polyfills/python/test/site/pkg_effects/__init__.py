"""Touches what all modules share, in the ways that can be taken back."""
import atexit
import copyreg
import warnings


class Thing:
    pass


atexit.register(print, "pkg_effects at exit")
copyreg.pickle(Thing, lambda thing: (Thing, ()))
warnings.simplefilter("error", BytesWarning)
warnings.simplefilter("always", ResourceWarning, append=True)
try:
    import simplejson_that_is_absent as json
except ImportError:
    import json
