// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"weir.dev/weir/cmd/weir/inspect"
	"weir.dev/weir/control"
	"weir.dev/weir/control/source/kube"
)

// looking is what a command line of weir get asks for.
type looking struct {
	paths               []string
	selectors           []inspect.Selector
	kubeconfig, context string
	admin               string
	control             control.Options
}

func newGet() *cobra.Command {
	var format string
	var l looking
	cmd := &cobra.Command{
		Use:   "get [PATH...] [KIND[/[NAMESPACE/]NAME]...]",
		Short: "Tell what became of objects, and what they came to in Envoy's terms",
		Long: `Tell of objects what became of them, what is wrong with them, and what they came to in Envoy's terms. The objects
are those in files and folders; with --kubeconfig those of a cluster, with the statuses that they have there; and with
--admin those of which a running proxy, Weir or Envoy, serves something, and what it refuses.

A KIND is written as kubectl takes it, or is one of Envoy's: listener, route, cluster, endpoints. Without any, all
objects are told that have a status.

The exit status is 0 if nothing is wrong with what is told, and otherwise 1.`,
		Example: `  weir get examples/quickstart
  weir get examples/quickstart httproute/users
  weir get --kubeconfig ~/.kube/config gateway/infra/edge -o yaml
  weir get --admin 127.0.0.1:9901 httproute/users cluster`,
		ValidArgsFunction: cobra.FixedCompletions(inspect.Kinds(), cobra.ShellCompDirectiveDefault),
		RunE: func(cmd *cobra.Command, args []string) error {
			write, ok := map[string]func(io.Writer, *inspect.Picture, []inspect.Selector) error{
				"brief": inspect.Brief, "json": inspect.JSON, "yaml": inspect.YAML,
			}[format]
			if !ok {
				return fmt.Errorf("--output %q is neither brief, yaml nor json", format)
			}
			if err := l.arguments(args); err != nil {
				return err
			}
			p, err := l.picture(cmd.Context())
			if err != nil {
				return err
			}
			if len(l.selectors) > 0 && !p.Has(l.selectors) {
				return fmt.Errorf("there is nothing that %s names", strings.Join(args[len(l.paths):], ", "))
			}
			if err := write(cmd.OutOrStdout(), p, l.selectors); err != nil {
				return err
			}
			if inspect.HasErrors(p, l.selectors) {
				return errors.New("not all is well: see above")
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "brief", "`format`: brief, yaml or json")
	cmd.Flags().StringVar(&l.kubeconfig, "kubeconfig", "", "`file` that names a cluster to read instead of files")
	cmd.Flags().StringVar(&l.context, "context", "", "`name` of the kubeconfig's context; its current one, if empty")
	cmd.Flags().StringVar(&l.admin, "admin", "", "`address` of a running proxy's admin to ask instead of files")
	addTranslation(cmd, &l.control)
	complete(cmd, "output", cobra.FixedCompletions([]string{"brief", "yaml", "json"}, cobra.ShellCompDirectiveNoFileComp))
	complete(cmd, "kubeconfig", cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault))
	complete(cmd, "context", cobra.NoFileCompletions)
	complete(cmd, "admin", cobra.NoFileCompletions)
	return cmd
}

// arguments tells paths from selectors: what exists as a file is a path.
func (l *looking) arguments(args []string) error {
	for _, a := range args {
		if _, err := os.Stat(a); err == nil && len(l.selectors) == 0 {
			l.paths = append(l.paths, a)
			continue
		}
		s, err := inspect.ParseSelector(a)
		if err != nil {
			return err
		}
		l.selectors = append(l.selectors, s)
	}
	from := len(l.paths)
	for _, flag := range []string{l.kubeconfig, l.admin} {
		if flag != "" {
			from++
			if len(l.paths) > 0 {
				return errors.New("give files, --kubeconfig or --admin, and only one of them")
			}
		}
	}
	if from == 0 || len(l.paths) == 0 && from > 1 {
		return errors.New("give files or a folder, --kubeconfig or --admin, and only one of them")
	}
	return nil
}

func (l *looking) picture(ctx context.Context) (*inspect.Picture, error) {
	switch {
	case l.admin != "":
		return inspect.Running(ctx, l.admin)
	case l.kubeconfig != "":
		cluster, err := kube.Connect(ctx, l.kubeconfig, l.context)
		if err != nil {
			return nil, err
		}
		cluster.Beside(l.control.Objects())
		objects, err := cluster.List(ctx)
		if err != nil {
			return nil, err
		}
		return inspect.Objects(l.control, objects), nil
	}
	return inspect.Files(l.control, l.paths...)
}
