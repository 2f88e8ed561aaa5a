"""The web server: a helper process that shows the fleet over HTTP. It asks the supervisor as any operator
does, and reads what entities wrote; it orders nothing, and nobody misses anything when it dies."""
