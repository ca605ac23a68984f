"""Pictures of docs/concepts, drawn by code so that they stay alike and a change of one is a readable diff."""
