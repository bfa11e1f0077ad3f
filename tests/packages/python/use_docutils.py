"""docutils: reStructuredText to HTML and to a tree; an error is reported where it is."""
import io

from docutils import nodes
from docutils.core import publish_doctree, publish_parts

TEXT = """
Title
=====

:Author: somebody
:Version: 1

A paragraph with *emphasis*, **strong**, ``code``, a link_ and a footnote [1]_.

.. _link: https://example.org/

Section
-------

1. first
2. second

   - nested

===== =====
 a     b
===== =====
 1     2
===== =====

.. note:: Take care.

.. code:: python

   def f(x): return x + 1

.. [1] The footnote.
"""

parts = publish_parts(TEXT, writer="html5", settings_overrides={"embed_stylesheet": False, "stylesheet_path": None})
print(parts["title"], parts["docinfo"].count("<dt"))
print(parts["body"])
tree = publish_doctree(TEXT)
print([type(node).__name__ for node in tree.children])
print([(s["ids"], s.next_node(nodes.title).astext()) for s in tree.findall(nodes.section)])
errors = io.StringIO()
publish_doctree("Bad\n===\n\n*unclosed\n\n.. nosuch:: x\n", settings_overrides={"warning_stream": errors})
print(errors.getvalue())
