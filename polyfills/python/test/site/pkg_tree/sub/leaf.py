import pkg_tree.early
