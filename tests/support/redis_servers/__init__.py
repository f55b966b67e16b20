"""Redis and Valkey servers for tests: standalone, Sentinels, a Cluster, TLS, and a proxy in between.

They listen on loopback only, keep no data, and end with the process that started them.
"""
