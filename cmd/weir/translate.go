// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"weir.dev/weir/cmd/weir/report"
	"weir.dev/weir/control"
	"weir.dev/weir/control/infra"
	"weir.dev/weir/control/offline"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/brief"
)

func newTranslate() *cobra.Command {
	var format, gateway string
	var o control.Options
	cmd := &cobra.Command{
		Use:   "translate PATH...",
		Short: "Print what Gateway API objects in files come to, in Envoy's terms",
		Long: `Print what the objects in files and folders come to in Envoy's terms: in brief, a line for each listener, host,
route, cluster and set of endpoints, or in full, as JSON of Envoy's messages. Private keys are left out.

What is wrong is told on standard error, and what can be served in spite of it is printed.`,
		Example: `  weir translate examples/quickstart
  weir translate manifests/ --gateway default/edge -o json`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "brief" && format != "json" {
				return fmt.Errorf("--output %q is neither brief nor json", format)
			}
			w, err := offline.Read(o, args...)
			if err != nil {
				return err
			}
			for _, p := range w.Problems() {
				fmt.Fprintln(cmd.ErrOrStderr(), p.Error())
			}
			s, err := snapshotOf(w, gateway)
			if err != nil {
				return err
			}
			if format == "brief" {
				_, err := io.WriteString(cmd.OutOrStdout(), brief.Snapshot(s))
				return err
			}
			return writeJSON(cmd.OutOrStdout(), s)
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "brief", "`format`: brief or json")
	cmd.Flags().StringVar(&gateway, "gateway", "", "only this Gateway, as `namespace/name`")
	addTranslation(cmd, &o)
	complete(cmd, "output", cobra.FixedCompletions([]string{"brief", "json"}, cobra.ShellCompDirectiveNoFileComp))
	complete(cmd, "gateway", cobra.NoFileCompletions)
	return cmd
}

// snapshotOf returns what the proxies of a Gateway need; of all, if it is "".
func snapshotOf(w *offline.World, gateway string) (*xds.Snapshot, error) {
	if gateway == "" {
		return w.Snapshot(), nil
	}
	n, _ := infra.ParseGateway(gateway)
	if n.Namespace == "" && w.Resources(n) == nil { // None of another dialect.
		n.Namespace = "default"
	}
	if w.Resources(n) == nil {
		return nil, fmt.Errorf("--gateway: there is no Gateway %s of ours: there are %v", n, w.Gateways())
	}
	return w.Snapshot(n), nil
}

// writeJSON prints all messages of a snapshot but for what is secret.
func writeJSON(w io.Writer, s *xds.Snapshot) error {
	out, err := report.Messages(s)
	if err != nil {
		return err
	}
	return report.Encode(w, out)
}
