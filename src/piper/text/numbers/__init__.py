"""Numbers and short forms written out as words, a module a language."""
