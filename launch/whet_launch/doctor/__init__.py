"""`whet doctor`: what is wrong with a machine, or with a cluster's nodes."""
