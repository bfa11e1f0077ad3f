import os

asked = os.environ.get("PKG_ASKED", "nothing")
