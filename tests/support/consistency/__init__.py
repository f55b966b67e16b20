"""A consistency checker for TieredCache, as Jepsen has them for databases.

Processes write increasing versions to keys and read them, while a nemesis injects faults. Each value names
its key and version. The history of acknowledged writes is in shared memory, and every read is checked at once:

- A read that began at `t` must not return a version if a later one was acknowledged before
  `t - MAX_STALENESS`.
- A value must be of the key that was read.
- A process that has written a version must not read an older one afterwards.
- When the faults have ended, a read returns what the server has.

A missing value is never a violation: the servers have no persistence, and lose their data when they are
killed.

A write that failed may have been executed, and may still be executed later, after newer writes. Its version
is exempt: reading it is no violation. Each key has one writer, so all other versions are in order.

After a failover, the new primary may lack writes that the old one acknowledged: the promise excludes what
asynchronous replication loses, and a read then returns an older version because the server has no newer one.
So the nemesis records from when until when it fails over, and reads after the beginning are not held to
writes that were acknowledged before the end. They are held to all later writes, which every key gets soon.
"""
