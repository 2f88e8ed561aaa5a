"""The numbers that the project promises, measured in pairs in one run: `make bench`, or
`python -m tests.bench`. Measures and prints; asserts nothing, since machines differ."""
