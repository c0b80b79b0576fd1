// SPDX-License-Identifier: Apache-2.0

// Command kubeone is a Kubernetes control plane in one binary: etcd, kube-apiserver, kube-proxy, and those
// controllers of kube-controller-manager that a cluster of test/kube needs. The first argument chooses.
//
// It is a module of its own, so that neither the product nor the tests have Kubernetes itself among their
// dependencies, and so that a new version of either does not build it anew. It holds nothing but the wiring.
package main

import (
	"fmt"
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "kubeone: the first argument is etcd, kube-apiserver, controllers or kube-proxy")
		os.Exit(2)
	}
	// What follows reads os.Args, and takes the first for its own name.
	os.Args = os.Args[1:]
	switch os.Args[0] {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-proxy":
		os.Exit(cli.Run(proxy.NewProxyCommand()))
	case "controllers":
		if err := runControllers(); err != nil {
			fmt.Fprintln(os.Stderr, "kubeone controllers:", err)
			os.Exit(1)
		}
	default:
		fmt.Fprintf(os.Stderr, "kubeone: no %q here: only etcd, kube-apiserver, controllers, kube-proxy\n", os.Args[0])
		os.Exit(2)
	}
}
