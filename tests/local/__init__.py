"""LocalCache alone: eviction, forks, reentrant calls, subclasses."""
