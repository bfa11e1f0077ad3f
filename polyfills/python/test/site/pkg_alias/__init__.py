import sys
import json.decoder

sys.modules["pkg_alias.moved"] = json.decoder
moved = json.decoder
