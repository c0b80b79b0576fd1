// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"weir.dev/weir/cmd/weir/flags"
	"weir.dev/weir/cmd/weir/life"
	"weir.dev/weir/internal/logging"
)

// document is one piece of a bootstrap; the pieces of one are merged in order.
type document struct {
	name string // in problems: a path, or "--config-yaml"
	data []byte
}

// engine is a proxy that is bound and ready to run.
type engine interface {
	life.Server
	// Close ends at once.
	Close()
	// AdminAddr is "host:port" or a socket's path; empty when the bootstrap has no admin.
	AdminAddr() string
	// Listeners are the addresses bound, in the bootstrap's order.
	Listeners() []string
	// Live is closed when it has the first configuration that it fetches, if any.
	Live() <-chan struct{}
	// Calls are the addresses of its clusters' endpoints that the bootstrap names.
	Calls() []string
	// ReopenLogs opens access log files anew.
	ReopenLogs() error
}

// starter makes engines from bootstraps. An error holds every problem, one a line.
type starter interface {
	// Check loads and compiles the bootstrap and binds nothing.
	Check(bootstrap []document, o *flags.Proxy, log *slog.Logger) error
	// Start loads and compiles the bootstrap and binds its listeners and admin.
	Start(bootstrap []document, o *flags.Proxy, log *slog.Logger) (engine, error)
	// Serve starts one proxy that serves what objects say.
	Serve(from objects, o *flags.Proxy, log *slog.Logger) (engine, error)
}

// named is an engine and the name of its bootstrap.
type named struct {
	name string
	engine
}

// openLogs opens the log that the flags ask for, and tells what to call to open its file anew and to close it.
func openLogs(cmd *cobra.Command, o *flags.Proxy) (logs *logging.Logs, reopen, closeLog func() error, err error) {
	nothing := func() error { return nil }
	reopen, closeLog = nothing, nothing
	var out io.Writer = cmd.ErrOrStderr()
	if o.LogPath != "" {
		f, err := logging.OpenFile(o.LogPath)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("--log-path: %w", err)
		}
		out, reopen, closeLog = f, f.Reopen, f.Close
	}
	logs, err = logging.New(out, o.Log)
	return logs, reopen, closeLog, err
}

// listenForSignals collects signals for runEngines, from before anybody is told that it is time to send them.
func listenForSignals() (signals chan os.Signal, stop func()) {
	signals = make(chan os.Signal, 8)
	signal.Notify(signals, life.Signals()...)
	return signals, func() { signal.Stop(signals) }
}

// runEngines runs engines until signals or they themselves end it. Each is closed when it has drained; if it was
// told to end at once, those that have not are left to the end of the process.
func runEngines(cmd *cobra.Command, log *slog.Logger, signals <-chan os.Signal, reopenLog func() error, engines []named) error {
	parts := make([]life.Part, 0, len(engines))
	for _, e := range engines {
		parts = append(parts, life.Part{Name: e.name, Server: closing{e}, Listens: e.Listeners(), Calls: e.Calls()})
	}
	reopen := func() error {
		errs := []error{reopenLog()}
		for _, e := range engines {
			errs = append(errs, e.ReopenLogs())
		}
		return errors.Join(errs...)
	}
	return life.Run(cmd.Context(), log, signals, reopen, parts...)
}

// awaitLive waits until all engines have what they fetch first, or a signal comes, which it leaves to runEngines.
func awaitLive(signals chan os.Signal, engines []named) {
	for _, e := range engines {
		select {
		case <-e.Live():
		case s := <-signals:
			signals <- s
			return
		}
	}
}

// closing is an engine that closes when it has drained. What it calls drains after it, and would otherwise wait
// for the connections that this one keeps for further requests.
type closing struct{ engine }

func (c closing) Run(ctx context.Context) error {
	defer c.Close()
	return c.engine.Run(ctx)
}

func closeAll(engines []named) {
	for _, e := range engines {
		e.Close()
	}
}
