// SPDX-License-Identifier: Apache-2.0

// Command weir is an L7 gateway and service proxy that serves Envoy's own configuration. Each subcommand is
// one file here that defines flags, calls a package and prints; what a command does lives elsewhere.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(execute(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// execute runs one command line and returns the exit status: 0, or 1 with the reason on stderr.
func execute(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.Execute(); err != nil {
		fmt.Fprintf(stderr, "weir: %v\n", err)
		return 1
	}
	return 0
}

// newRoot returns the command "weir" with all its subcommands.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "weir",
		Short: "A gateway and service proxy that speaks Envoy's configuration",
		Long:  "Weir is an L7 gateway and service proxy. It serves Envoy's own configuration with a data plane of its own.",
		// Errors are printed once, by execute; a usage text below each would hide them.
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(explainFlag)
	real := &proxies{}
	root.AddCommand(newProxy(real), newRun(real), newControl(), newRateLimit(), newConvert(), newTranslate(), newCheck(), newGet(), newEcho(), newVersion(), newCompletion(), newEnvoyFlags())
	root.CompletionOptions.DisableDefaultCmd = true // newCompletion has the shells that Linux has.
	return root
}
