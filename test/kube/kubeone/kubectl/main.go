// SPDX-License-Identifier: Apache-2.0

// Command kubectl is kubectl, for those who try a cluster by hand.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
)

func main() { os.Exit(cli.Run(cmd.NewDefaultKubectlCommand())) }
