"""The shell: I/O around the pure core. Thin, no policy: what to do is decided in core, how is known here."""
