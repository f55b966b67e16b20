"""Single flight: of all callers that want the value of a key at the same time, one computes it.

`flow` has the order of events as generators, which do no waiting themselves. `effects` carries out what they
ask for, for threads and for tasks. `methods` are the methods of the caches, `background` runs refreshes that
nobody waits for. The extension module finds the one caller that computes, and wakes the others.
"""
