"""SharedCache alone: its file, and the processes that share it."""
