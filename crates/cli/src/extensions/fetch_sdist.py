"""Downloads one sdist with pip, which would run code of the package to learn what it needs: this ends when the file is there and its hash is right.

Arguments: the file to write, then pip's."""

import os
import shutil
import sys

to, arguments = sys.argv[1], sys.argv[2:]
# Whatever pip were to start would be this.
sys.executable = "/nonexistent"

from pip._internal.cli.main import main
from pip._internal.operations import prepare


def keep(requirement, *_, **__):
    shutil.copy(requirement.local_file_path, to)
    os._exit(0)


prepare._get_prepared_distribution = keep
sys.exit(main(arguments) or 1)
