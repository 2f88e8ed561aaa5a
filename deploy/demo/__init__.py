"""The demo: a small shop (`shop/`), its `fleet.toml`, and a driver that uses both as any user would.

The driver knows the fleet by its command and its JSON, and the Cluster by the Temporal client. Nothing of
the project is imported here.
"""
