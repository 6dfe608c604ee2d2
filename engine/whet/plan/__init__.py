"""What a job will take before it is begun, and afterwards how far that was from what it took.

workload (counts) and probe (rates of this machine) go into estimate (seconds, money) and footprint
(bytes a process holds and moves, by strategy); forecast is what a fit writes down.
"""
