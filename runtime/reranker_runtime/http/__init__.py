"""The doors: what speaks HTTP. Each route parses, asks the service, answers."""
