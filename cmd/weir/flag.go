// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"
	"weir.dev/weir/cmd/weir/flags"
)

// explainFlag adds the nearest flag that exists to a complaint about one that does not.
func explainFlag(cmd *cobra.Command, err error) error {
	return flags.Explain(cmd.Flags(), err)
}
