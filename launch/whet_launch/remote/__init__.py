"""Jobs sent to a cluster's head, or written as a manifest for Kubernetes."""
