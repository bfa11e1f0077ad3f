#!/usr/bin/env python3
"""A program of which only the imports matter; running it would be noticed."""
import pkg_tree.early, beside
from xml.dom import minidom, Node
try:
    import pkg_that_is_absent
except ImportError:
    from pkg_random import token


def late():
    import pkg_spread.part
    __import__("importlib").import_module("colorsys")


print("the program has run")
