from .. import late
