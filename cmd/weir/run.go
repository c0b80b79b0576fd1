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
	"weir.dev/weir/cmd/weir/limits"
	"weir.dev/weir/control/build"
	"weir.dev/weir/internal/echo"
	"weir.dev/weir/internal/fnserver"
)

func newRun(s starter) *cobra.Command {
	var set *flags.Set
	var from objects
	var limit *limits.Options
	cmd := &cobra.Command{
		Use:   "run [PATH...]",
		Short: "Run Gateways and proxies found in files and folders, in one process",
		Long: `Run what files and folders hold, in one process. Of a folder, every .yaml, .yml and .json file in it is read.
Objects of the Gateway API (Gateways, HTTPRoutes, Services, ...) are all served by one proxy, and the files are
watched: a change is served at once. Every other file is an Envoy bootstrap (API v3, v2 or v1), and is one proxy of
its own; one file may be of kind Demo, which names demo backends to start beside them and requests to try.

With --kubeconfig the objects are a cluster's, whose statuses are written, too. With --addresses each Gateway has an
address of its own; without, those on the same port of the same address share it: the oldest has it.

Without the right to bind ports below 1024, a Gateway's port 80 is served at 8080, and 443 at 8443.

SIGTERM and SIGINT drain: a proxy that calls another drains before it. A second signal ends at once.`,
		Example: `  weir run examples/quickstart
  weir run edge.yaml sidecar.yaml
  weir run examples/quickstart --log-level debug`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && from.kubeconfig == "" {
				return errors.New("requires a file or a folder, or --kubeconfig")
			}
			return nil
		},
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault), // files and folders
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := set.Proxy()
			if err != nil {
				return err
			}
			from.paths, from.place = args, build.PlaceOf(o.ServiceZone)
			o.ServiceZone = from.place.Zone
			return runPaths(cmd, s, o, from, limit)
		},
	}
	set = flags.AddShared(cmd.Flags())
	cmd.Flags().StringVar(&from.kubeconfig, "kubeconfig", "", "`file` that names a cluster to read instead of files")
	cmd.Flags().StringVar(&from.context, "context", "", "`name` of the kubeconfig's context; its current one, if empty")
	cmd.Flags().StringVar(&from.pool, "addresses", "", "`range` of addresses, such as 10.0.0.0/24: each Gateway gets one")
	cmd.Flags().StringVar(&from.admin, "admin", defaultAdmin, "`address` of the admin of the proxy that serves objects; empty for none")
	cmd.Flags().StringVar(&from.registration, "registration", "", "`address` to answer version 1 of Envoy's service discovery at, for Services; empty for none")
	addTranslation(cmd, &from.control)
	limit = addLimits(cmd)
	for _, name := range []string{"admin", "addresses", "context", "registration"} {
		complete(cmd, name, cobra.NoFileCompletions)
	}
	complete(cmd, "kubeconfig", cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault))
	completeFlags(cmd)
	return cmd
}

func runPaths(cmd *cobra.Command, s starter, o *flags.Proxy, from objects, limit *limits.Options) (err error) {
	logs, reopen, closeLog, err := openLogs(cmd, o)
	if err != nil {
		return err
	}
	defer func() { _ = closeLog() }() // Nothing is left to log the error to.
	log := logs.Logger("main")
	set := &demo.Set{}
	if len(from.paths) > 0 {
		if set, err = demo.Scan(from.paths...); err != nil {
			return err
		}
	}
	fromObjects := len(set.Objects) > 0 || from.kubeconfig != ""
	if i := from.control.Limits; i != nil && limit.Redis.URL == "" && fromObjects {
		if i.RedisRef != nil || i.Certificate.Name != "" && limit.Redis.Certificate+limit.Redis.CA == "" {
			return errors.New("--envoy-gateway-config: rateLimit.backend.redis: this process reads no Secret for its Redis: " +
				"give --ratelimit-redis or, of the certificate, --ratelimit-redis-ca, --ratelimit-redis-certificate and --ratelimit-redis-key")
		}
		limit.Redis.URL, limit.Redis.TLS = i.Redis, limit.Redis.TLS || i.TLS
	}
	l, closeLimits, err := openLimits(*limit, fromObjects, o, logs.Logger("ratelimit"))
	if err != nil {
		return err
	}
	defer closeLimits()
	signals, stop := listenForSignals()
	defer stop()
	stopBackends, err := startBackends(set.Demo)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopBackends()) }()
	var engines []named
	if fromObjects {
		from.limit = l.Objects
		e, startErr := s.Serve(from, o, log)
		if startErr != nil {
			return startErr
		}
		engines = append(engines, named{"gateway", e})
	} else if from.registration != "" {
		return errors.New("--registration: there are no objects whose Services could be told: give some, or --kubeconfig")
	}
	for _, f := range set.Bootstraps {
		e, startErr := s.Start([]document{{f.Path, f.Data}}, o, log)
		if startErr != nil {
			err = errors.Join(err, startErr) // All files' problems at once.
			continue
		}
		engines = append(engines, named{filepath.Base(f.Path), e})
	}
	if err == nil {
		awaitLive(signals, engines)
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
	var servers []io.Closer
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
		s, err := listen(b)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("start demo backend: %w", err), stop())
		}
		servers = append(servers, s)
	}
	return stop, nil
}

// listen starts a backend.
func listen(b demo.Backend) (io.Closer, error) {
	if len(b.Functions) == 0 {
		return echo.Listen(b.Name, b.Address)
	}
	s := fnserver.New()
	for _, f := range b.Functions {
		s.Add(fnserver.Function{App: f.App, Path: f.Path, ID: f.ID, Run: fnserver.Text(f.Answer)})
	}
	return fnserver.Listen(s, b.Address)
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
