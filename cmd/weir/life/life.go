// SPDX-License-Identifier: Apache-2.0

// Package life runs proxies until they are told to stop, and stops them in an order that costs no request:
// whoever calls another drains before it.
//
// The first SIGTERM or SIGINT drains: listeners close, responses ask their clients to close the connection,
// requests in flight finish within the drain time. The second ends at once. SIGUSR1 opens log files anew
// after they were moved away. SIGHUP does nothing but say so: configuration is not read again on a signal.
package life

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"syscall"
)

// A Server is one running proxy.
type Server interface {
	// Run serves until ctx ends or the server decides to stop by itself, drains, and returns when the last
	// request is done or the drain time is over.
	Run(ctx context.Context) error
}

// A Part is a server and where it stands among the others.
type Part struct {
	// Name is how the log calls it: the name of its file.
	Name string
	// Server is what to run.
	Server Server
	// Listens and Calls are the addresses, "host:port" or a socket's path, that the server accepts
	// connections on and opens connections to. Of several parts they give the order of draining.
	Listens, Calls []string
}

// ErrSecondSignal is the error of Run when it was told to end at once. The parts are still running then: the
// process should exit.
var ErrSecondSignal = errors.New("second signal: ended without waiting for requests in flight")

// Signals are the signals that Run wants to hear, for signal.Notify.
func Signals() []os.Signal {
	return []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGHUP}
}

// Run runs all parts until ctx ends, a signal asks for it or one of them stops by itself; then it drains the
// others, callers first, and returns the first error. reopen is called on SIGUSR1 and returns what could not
// be opened.
func Run(ctx context.Context, log *slog.Logger, signals <-chan os.Signal, reopen func() error, parts ...Part) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, log, parts) }()
	for draining := false; ; {
		select {
		case err := <-ended:
			if err == nil {
				log.Info("stopped")
			}
			return err
		case s := <-signals:
			switch s {
			case syscall.SIGUSR1:
				if err := reopen(); err != nil {
					log.Error("log files could not all be opened anew; the old ones stay in use", "error", err)
				} else {
					log.Info("opened log files anew")
				}
			case syscall.SIGHUP:
				log.Info("SIGHUP has no effect: start a new process to read the configuration again")
			default:
				if draining {
					log.Warn("second signal: ending without waiting for requests in flight", "signal", s)
					return ErrSecondSignal
				}
				draining = true
				log.Info("draining: listeners close, requests in flight finish; a second signal ends at once", "signal", s)
				stop()
			}
		}
	}
}

// serve runs the parts. When ctx ends or one part returns, it stops the others stage by stage.
func serve(ctx context.Context, log *slog.Logger, parts []Part) error {
	runs := make([]*running, 0, len(parts))
	ctx, oneEnded := context.WithCancel(ctx)
	defer oneEnded()
	for _, p := range parts {
		// A part must outlive ctx: it stops when its turn comes.
		own, stop := context.WithCancel(context.WithoutCancel(ctx))
		r := &running{stop: stop, done: make(chan struct{})}
		runs = append(runs, r)
		go func() {
			defer close(r.done)
			if err := p.Server.Run(own); err != nil {
				r.err = fmt.Errorf("%s: %w", p.Name, err)
			}
			oneEnded()
		}()
	}
	<-ctx.Done()
	for _, stage := range Stages(parts) {
		for _, i := range stage {
			if len(parts) > 1 {
				log.Info("draining", "proxy", parts[i].Name)
			}
			runs[i].stop()
		}
		for _, i := range stage {
			<-runs[i].done
		}
	}
	var errs []error
	for _, r := range runs {
		errs = append(errs, r.err)
	}
	return errors.Join(errs...)
}

// running is a part under way.
type running struct {
	stop context.CancelFunc
	done chan struct{}
	err  error // read after done is closed
}

// Stages orders parts, given by index, for draining: a part comes in a later stage than every part that
// calls it. Parts that call each other in a circle share a stage.
func Stages(parts []Part) [][]int {
	left := make([]int, len(parts))
	for i := range left {
		left[i] = i
	}
	var stages [][]int
	for len(left) > 0 {
		var stage []int
		for _, i := range left {
			called := slices.ContainsFunc(left, func(j int) bool { return i != j && calls(parts[j], parts[i]) })
			if !called {
				stage = append(stage, i)
			}
		}
		if len(stage) == 0 {
			stage = slices.Clone(left) // A circle: no order is better than another.
		}
		left = slices.DeleteFunc(left, func(i int) bool { return slices.Contains(stage, i) })
		stages = append(stages, stage)
	}
	return stages
}

func calls(a, b Part) bool {
	return slices.ContainsFunc(a.Calls, func(address string) bool { return slices.Contains(b.Listens, address) })
}
