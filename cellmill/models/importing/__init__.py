"""Networks of other frameworks brought in: from their own files to a portable network and a card.

A framework is a module of this folder and one line in `frameworks.FRAMEWORKS`.
"""
