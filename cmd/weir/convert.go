// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"github.com/spf13/cobra"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/load"
)

func newConvert() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "convert FILE",
		Short: "Print an Envoy v1 or v2 bootstrap file as v3",
		Long: `Print an Envoy bootstrap of any version of the API, and of v2 and v3 mixed, as v3. Each change is told on
standard error: where it stands, the old field, the new one, and why. "weir proxy" and "weir run" read old files
as they are; this is for whoever wants to keep the new form.

A field that has no meaning any more is refused, and then nothing is printed. What is printed and still has
problems, because it asks for what Weir does not do, is printed all the same: the problems are told, and the exit
status is 1. "-" reads standard input.`,
		Example: `  weir convert envoy.json > envoy.yaml
  weir convert envoy-v2.yaml -o json
  weir convert - < envoy.yaml`,
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: cobra.FixedCompletions([]cobra.Completion{"yaml", "yml", "json"},
			cobra.ShellCompDirectiveFilterFileExt),
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != string(load.YAML) && format != string(load.JSON) {
				return fmt.Errorf("--output %q is neither yaml nor json", format)
			}
			data, err := readFile(cmd.InOrStdin(), args[0])
			if err != nil {
				return err
			}
			return convert(cmd.OutOrStdout(), cmd.ErrOrStderr(), args[0], data, load.Format(format))
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", string(load.YAML), "`format` to write: yaml or json")
	complete(cmd, "output", cobra.FixedCompletions([]cobra.Completion{string(load.YAML), string(load.JSON)}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func convert(out, notes io.Writer, name string, data []byte, format load.Format) error {
	count := 0
	opts := load.Options{Note: func(n xds.Note) {
		count++
		fmt.Fprintln(notes, n)
	}}
	text, problems := load.Convert(name, data, &bootstrapv3.Bootstrap{}, format, opts)
	if text != nil {
		if count == 0 {
			fmt.Fprintf(notes, "%s: is of v3 already\n", name)
		}
		if _, err := out.Write(text); err != nil {
			return err
		}
	}
	return xds.Err(problems)
}

// readFile reads a file, or standard input if it is called "-", of at most maxBootstrap bytes.
func readFile(stdin io.Reader, name string) ([]byte, error) {
	from := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("read bootstrap: %w", err)
		}
		defer f.Close()
		from = f
	}
	data, err := io.ReadAll(io.LimitReader(from, maxBootstrap+1))
	if err != nil {
		return nil, fmt.Errorf("read bootstrap %s: %w", name, err)
	}
	if len(data) > maxBootstrap {
		return nil, fmt.Errorf("read bootstrap %s: larger than the %d MiB allowed", name, maxBootstrap>>20)
	}
	return data, nil
}
