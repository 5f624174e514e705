"""The classic scenarios by which Paxos and key-value stores on it have long been measured.

They are those of the 6.824 labs of 2014 and 2015, told anew: the names, the counts, the limits
and the criteria are theirs. Where one of them had to be adapted, or where a stronger one holds
here, it says so beside the test. They run on trial's reactor, ``python -m twisted.trial
test.labs``, but for those of `test_diskv`, which are for pytest. Each says the seed of its chance;
``KVPAXOS_SEED`` sets it.
"""
