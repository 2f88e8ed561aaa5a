"""The supervisor: decides (core) and acts (shell), reads the config, talks to operators (cli).

Never imports temporalio, the entity room or user code: it must stay small and must not die of theirs.
"""

__version__ = "0.1.0"
