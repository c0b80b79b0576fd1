// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/spf13/cobra"
	"weir.dev/weir/cmd/weir/flags"
	"weir.dev/weir/cmd/weir/limits"
)

// maxBootstrap bounds a bootstrap file, in bytes.
const maxBootstrap = 256 << 20

func newProxy(s starter) *cobra.Command {
	var set *flags.Set
	var limit *limits.Options
	cmd := &cobra.Command{
		Use:   "proxy",
		Short: "Run a proxy from an Envoy bootstrap file",
		Long: `Run a proxy from an Envoy bootstrap (YAML or JSON, of API v3, v2 or v1), with Envoy's command line. What is of an
older version is read as v3, and the log tells what became of it; "weir convert" writes it down.

SIGTERM and SIGINT drain: listeners close, responses ask for the connection to be closed, requests in flight
finish within the drain time. A second signal ends at once. SIGUSR1 opens log files anew.

Every other flag of Envoy is accepted with a notice that it has no effect here, or refused with the reason:
"weir help envoy-flags" lists them.`,
		Example: `  weir proxy -c envoy.yaml
  weir proxy -c envoy.yaml --mode validate
  weir proxy -c envoy.yaml --config-yaml 'node: {id: edge-1}' -l warning --component-log-level upstream:debug
  weir proxy -c - < envoy.yaml`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := set.Proxy()
			if err != nil {
				return err
			}
			switch {
			case o.ShowVersion:
				_, err := fmt.Fprintln(cmd.OutOrStdout(), versionLine(debug.ReadBuildInfo()))
				return err
			case o.ShowHotRestartVersion:
				_, err := fmt.Fprintln(cmd.OutOrStdout(), "disabled") // As Envoy says it.
				return err
			}
			return runProxy(cmd, s, o, limit)
		},
	}
	set = flags.Add(cmd.Flags())
	limit = addLimits(cmd)
	completeFlags(cmd)
	return cmd
}

func runProxy(cmd *cobra.Command, s starter, o *flags.Proxy, limit *limits.Options) error {
	logs, reopen, closeLog, err := openLogs(cmd, o)
	if err != nil {
		return err
	}
	defer func() { _ = closeLog() }() // Nothing is left to log the error to.
	log := logs.Logger("main")
	o.Notify(log)
	bootstrap, err := readBootstrap(cmd.InOrStdin(), o)
	if err != nil {
		return err
	}
	// With Redis alone, the limits are for a control plane to tell.
	l, closeLimits, err := openLimits(*limit, limit.Redis.URL != "", o, logs.Logger("ratelimit"))
	if err != nil {
		return err
	}
	if l != nil {
		o.Limits = l.Deliver
	}
	defer closeLimits()
	name := cmp.Or(o.ConfigPath, "--config-yaml")
	if o.Mode == flags.Validate {
		if err := s.Check(bootstrap, o, log); err != nil {
			return err
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "configuration '%s' OK\n", name)
		return err
	}
	signals, stop := listenForSignals()
	defer stop()
	e, err := s.Start(bootstrap, o, log)
	if err != nil {
		return err
	}
	for _, l := range e.Listeners() {
		log.Info("listening", "address", l)
	}
	if a := e.AdminAddr(); a != "" {
		log.Info("admin listening", "address", a)
	}
	return runEngines(cmd, log, signals, reopen, []named{{name, e}})
}

// readBootstrap reads the file and the flag that together are the bootstrap.
func readBootstrap(stdin io.Reader, o *flags.Proxy) ([]document, error) {
	var out []document
	if o.ConfigPath != "" {
		data, err := readFile(stdin, o.ConfigPath)
		if err != nil {
			return nil, err
		}
		out = append(out, document{o.ConfigPath, data})
	}
	if o.ConfigYAML != "" {
		out = append(out, document{"--config-yaml", []byte(o.ConfigYAML)})
	}
	return out, nil
}
