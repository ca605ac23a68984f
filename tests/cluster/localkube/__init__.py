"""A Kubernetes cluster of plain processes, for the cluster tests and the demo.

The control plane is the real one (etcd, kube-apiserver, kube-controller-manager and kube-scheduler, built from the Go
module beside this package). Only the kubelet is ours: it runs each container as a process of the project's own virtual
environment, in namespaces of its own, so that no container engine and no image registry is needed.
"""
