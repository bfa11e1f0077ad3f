"""Modules that an importer of this module's makes, as six.moves: attributes are resolved when they are asked for."""
import importlib.util
import sys
import types


class Attribute:
    def __init__(self, name):
        self.name = name

    def __get__(self, module, owner):
        result = __import__(self.name)
        setattr(module, self.name, result)
        delattr(owner, self.name)
        return result


class Moves(types.ModuleType):
    __path__ = []
    colorsys = Attribute("colorsys")
    sndhdr = Attribute("sndhdr")


class Importer:
    def __init__(self):
        self.moves = Moves("pkg_lazy.moves")

    def find_spec(self, name, path, target=None):
        return importlib.util.spec_from_loader(name, self) if name == "pkg_lazy.moves" else None

    def is_package(self, name):
        return True

    def create_module(self, spec):
        return self.moves

    def exec_module(self, module):
        pass


__path__ = []
sys.meta_path.append(Importer())
