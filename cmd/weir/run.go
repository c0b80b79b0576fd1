// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"weir.dev/weir/cmd/weir/demo"
	"weir.dev/weir/cmd/weir/flags"
	"weir.dev/weir/internal/echo"
)

func newRun(s starter) *cobra.Command {
	var set *flags.Set
	cmd := &cobra.Command{
		Use:   "run PATH...",
		Short: "Run every proxy found in files and folders, in one process",
		Long: `Run proxies from files and folders, in one process. Of a folder, every .yaml, .yml and .json file in it is
read. Each file is an Envoy bootstrap (API v3, v2 or v1), and is one proxy; one file may instead be of kind Demo,
which names demo backends to start beside them and requests to try.

SIGTERM and SIGINT drain: a proxy that calls another drains before it. A second signal ends at once.`,
		Example: `  weir run examples/quickstart
  weir run edge.yaml sidecar.yaml
  weir run examples/quickstart --log-level debug`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault), // files and folders
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := set.Proxy()
			if err != nil {
				return err
			}
			return runPaths(cmd, s, o, args)
		},
	}
	set = flags.AddShared(cmd.Flags())
	completeFlags(cmd)
	return cmd
}

func runPaths(cmd *cobra.Command, s starter, o *flags.Proxy, paths []string) (err error) {
	logs, reopen, closeLog, err := openLogs(cmd, o)
	if err != nil {
		return err
	}
	defer func() { _ = closeLog() }() // Nothing is left to log the error to.
	log := logs.Logger("main")
	set, err := demo.Scan(paths...)
	if err != nil {
		return err
	}
	signals, stop := listenForSignals()
	defer stop()
	stopBackends, err := startBackends(set.Demo)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopBackends()) }()
	var engines []named
	for _, f := range set.Bootstraps {
		e, startErr := s.Start([]document{{f.Path, f.Data}}, o, log)
		if startErr != nil {
			err = errors.Join(err, startErr) // All files' problems at once.
			continue
		}
		engines = append(engines, named{filepath.Base(f.Path), e})
	}
	if err == nil {
		err = announce(cmd.OutOrStdout(), engines, set.Demo)
	}
	if err != nil {
		closeAll(engines)
		return err
	}
	return runEngines(cmd, log, signals, reopen, engines)
}

// startBackends starts the demo's backends, and returns what stops them all.
func startBackends(d *demo.Demo) (stop func() error, err error) {
	var servers []*echo.Server
	stop = func() error {
		// The proxies have drained by now, or it was told to end at once: nobody waits for an answer.
		var errs []error
		for _, s := range servers {
			errs = append(errs, s.Close())
		}
		return errors.Join(errs...)
	}
	if d == nil {
		return stop, nil
	}
	for _, b := range d.Backends {
		s, err := echo.Listen(b.Name, b.Address)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("start demo backend: %w", err), stop())
		}
		servers = append(servers, s)
	}
	return stop, nil
}

// announce tells on standard output what runs where and what to try.
func announce(w io.Writer, engines []named, d *demo.Demo) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, e := range engines {
		fmt.Fprintf(t, "%s\tlistens on %s", e.name, strings.Join(e.Listeners(), ", "))
		if a := e.AdminAddr(); a != "" {
			fmt.Fprintf(t, "\tadmin http://%s/", a)
		}
		fmt.Fprintln(t)
	}
	if d != nil {
		for _, b := range d.Backends {
			fmt.Fprintf(t, "%s\tlistens on %s\tdemo backend\n", b.Name, b.Address)
		}
		if len(d.Requests) > 0 {
			fmt.Fprint(t, "\nTry:\n")
		}
		for _, r := range d.Requests {
			fmt.Fprintf(t, "\n  %s\n    %s\n", r.Curl, r.Expect)
		}
	}
	fmt.Fprint(t, "\nReady. Stop with Ctrl-C.\n")
	return t.Flush()
}
