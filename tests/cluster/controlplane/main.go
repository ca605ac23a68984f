// Command controlplane is a whole Kubernetes control plane in one binary.
//
// It exists so that the cluster tests and the demo run against the real etcd,
// kube-apiserver, kube-controller-manager, kube-scheduler, kubectl and helm on any
// machine that can fetch Go modules: no containers, no downloads of releases.
// The first argument picks the program; the rest are that program's own flags.
package main

import (
	"fmt"
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

const programs = "etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl, helm"

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "controlplane: name a program first, one of: "+programs)
		os.Exit(2)
	}
	program := os.Args[1]
	// The programs read their flags from os.Args themselves.
	os.Args = os.Args[1:]
	switch program {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(controllermanager.NewControllerManagerCommand()))
	case "kube-scheduler":
		os.Exit(cli.Run(scheduler.NewSchedulerCommand()))
	case "kubectl":
		os.Exit(cli.Run(kubectl.NewDefaultKubectlCommand()))
	case "helm":
		os.Exit(runHelm())
	default:
		fmt.Fprintf(os.Stderr, "controlplane: %q is not in this binary, which holds: %s\n", program, programs)
		os.Exit(2)
	}
}
