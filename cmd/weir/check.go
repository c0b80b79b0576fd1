// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"weir.dev/weir/cmd/weir/report"
	"weir.dev/weir/control"
	"weir.dev/weir/control/offline"
	"weir.dev/weir/control/policy/envoygateway/install"
	"weir.dev/weir/xds"
)

func newCheck() *cobra.Command {
	var format string
	var o control.Options
	cmd := &cobra.Command{
		Use:   "check PATH...",
		Short: "Tell what is wrong with Gateway API objects in files",
		Long: `Tell what is wrong with the objects in files and folders, in the words that their status would have in a cluster,
each with its file and line. What the files refer to and do not hold counts as not there.

The exit status is 0 if there is nothing wrong, and otherwise 1.`,
		Example: `  weir check examples/quickstart
  weir check manifests/ -o sarif > weir.sarif`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
		RunE: func(cmd *cobra.Command, args []string) error {
			w, err := offline.Read(o, args...)
			if err != nil {
				return err
			}
			problems := w.Problems()
			if err := report.Write(cmd.OutOrStdout(), report.Format(format), problems); err != nil {
				return err
			}
			if !xds.HasErrors(problems) {
				return nil
			}
			return fmt.Errorf("%d problems", len(problems))
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", string(report.Text), "`format`: text, json or sarif")
	addTranslation(cmd, &o)
	complete(cmd, "output", cobra.FixedCompletions(report.Formats(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// addTranslation defines the flags of translation.
func addTranslation(cmd *cobra.Command, o *control.Options) {
	cmd.Flags().StringVar(&o.Controller, "controller-name", "", "`name` of the GatewayClasses that are ours (default weir.dev/gateway-controller)")
	cmd.Flags().BoolVar(&o.ExternalName, "allow-external-name", false, "take Services of type ExternalName, which can lead anywhere")
	cmd.Flags().StringSliceVar(&o.AmbassadorIDs, "ambassador-id", nil, "`id` of an install of Emissary-ingress that is served; may be given again (default all)")
	cmd.Flags().Var(&dialectsFlag{&o.Dialects}, "dialects", "`names` of what is served, separated by commas: "+strings.Join(control.DialectNames(), ", ")+" (default all)")
	complete(cmd, "dialects", cobra.FixedCompletions(control.DialectNames(), cobra.ShellCompDirectiveNoFileComp))
	o.Limits = &install.LimitService{}
	cmd.Flags().Var(&installFlag{o, cmd}, "envoy-gateway-config", "`file` of kind EnvoyGateway, or the ConfigMap that has it, that an install of Envoy Gateway is configured by")
	complete(cmd, "envoy-gateway-config", cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault))
	complete(cmd, "controller-name", cobra.NoFileCompletions)
	complete(cmd, "ambassador-id", cobra.NoFileCompletions)
}
