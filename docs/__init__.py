"""The documentation: pages, and what of them is generated from the code. `make docs` builds it."""
