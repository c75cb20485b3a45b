"""Steps by the compilers of accelerators that are not here."""
