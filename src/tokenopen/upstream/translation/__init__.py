"""Translations: a call in one API's shape, carried to a provider that speaks another. Everything is pure.

Only exact ones: what the other API has nothing like is refused by its name, never dropped in silence. Hints
that change neither the reply nor what is asked are left out, and the reply's headers name them.
"""
