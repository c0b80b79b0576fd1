// SPDX-License-Identifier: Apache-2.0

// Command weir is an L7 gateway and service proxy that serves Envoy's own configuration. Each subcommand is
// one file here that defines flags, calls a package and prints; what a command does lives elsewhere.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"weir.dev/weir/cmd/weir/flags"
)

func main() {
	os.Exit(execute(arguments(os.Args), os.Stdin, os.Stdout, os.Stderr))
}

// arguments are weir's own, of a command line with the program's name. One that is called envoy stands in Envoy's
// place, with Envoy's arguments, and is weir proxy.
func arguments(line []string) []string {
	args := line[1:]
	if filepath.Base(line[0]) == "envoy" {
		args = append([]string{"proxy"}, args...)
	}
	if len(args) > 0 && args[0] == "proxy" {
		return append([]string{"proxy"}, flags.Separate(args[1:])...)
	}
	return args
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
