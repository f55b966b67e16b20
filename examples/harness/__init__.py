"""The parts of `demo.py`: server, storage, workload, traffic, progress and report."""
