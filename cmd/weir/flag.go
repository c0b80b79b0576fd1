// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"github.com/spf13/cobra"
	"weir.dev/weir/cmd/weir/flags"
)

// explainFlag adds the nearest flag that exists to a complaint about one that does not.
func explainFlag(cmd *cobra.Command, err error) error {
	return flags.Explain(cmd.Flags(), err)
}

// newEnvoyFlags is the help topic that lists the flags which "weir help proxy" leaves out.
func newEnvoyFlags() *cobra.Command {
	return &cobra.Command{
		Use:   "envoy-flags",
		Short: "Flags of Envoy that have no effect here, or are refused",
		Long: "Flags of Envoy that weir proxy knows and that have no effect here, or are refused for most values:\n\n" +
			strings.Join(flags.Hidden(), "\n"),
	}
}
