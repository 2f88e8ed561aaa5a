"""The configuration: fleet.toml, or the options of `run`, to frozen values. Which keys there are is in
`settings`, how a file is read in `reader`. Nothing here runs anything.
"""
