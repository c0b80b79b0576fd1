// SPDX-License-Identifier: Apache-2.0

// Package registration is the discovery of clusters by version 1 of Envoy's API: the
// hosts of a service are asked for again and again, by REST, of a service discovery
// service that is a cluster itself. What it last answered stays while it cannot be
// asked, or answers what cannot be read.
package registration

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"weir.dev/weir/proxy/upstream"
)

// maxBody bounds one answer, in bytes.
const maxBody = 16 << 20

// patience is how long the first question waits for the cluster that it goes to before
// that is told as a failure, so that a name without a cluster holds nothing up.
const patience = 15 * time.Second

// Options say who is asked for what.
type Options struct {
	// Cluster is asked for Path.
	Cluster, Path string
	// Delay is the time between two questions, to which up to as much again is added by
	// chance, so that proxies do not ask all at once. Timeout bounds one.
	Delay, Timeout time.Duration
}

// Discovery asks for the hosts of one service. Make it with New.
type Discovery struct {
	Options
	log    *slog.Logger
	failed string // the last failure that was told
	caller upstream.Caller
	cancel context.CancelFunc
	wait   sync.WaitGroup
}

// New returns a discovery that asks by caller, and tells log when answers are of no use;
// a nil log is none.
func New(o Options, caller upstream.Caller, log *slog.Logger) *Discovery {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Discovery{Options: o, caller: caller, log: log}
}

// Start implements upstream.Discovery. The first update comes with the first answer, or
// the first failure.
func (d *Discovery) Start(update func([]upstream.Endpoint, error)) error {
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	d.wait.Go(func() {
		timer := time.NewTimer(0)
		defer timer.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			endpoints, err := d.ask(ctx)
			if ctx.Err() != nil {
				return
			}
			d.tell(err)
			update(endpoints, err)
			timer.Reset(d.Delay + rand.N(d.Delay))
		}
	})
	return nil
}

// tell logs a failure once, however often it comes again, and its end.
func (d *Discovery) tell(err error) {
	switch {
	case err != nil && err.Error() != d.failed:
		d.failed = err.Error()
		d.log.Warn("the hosts that were found before stay: " + d.failed)
	case err == nil && d.failed != "":
		d.failed = ""
		d.log.Info("ask " + d.Cluster + " for " + d.Path + ": answered again")
	}
}

// ask asks once.
func (d *Discovery) ask(ctx context.Context) ([]upstream.Endpoint, error) {
	ctx, cancel := context.WithTimeout(ctx, patience+d.Timeout)
	defer cancel()
	status, body, err := d.caller.Get(ctx, d.Cluster, d.Path, d.Timeout, maxBody)
	if err != nil {
		return nil, fmt.Errorf("ask %s for %s: %w", d.Cluster, d.Path, err)
	}
	if status != 200 {
		return nil, fmt.Errorf("ask %s for %s: the answer is %d", d.Cluster, d.Path, status)
	}
	endpoints, err := parse(body)
	if err != nil {
		return nil, fmt.Errorf("ask %s for %s: %w", d.Cluster, d.Path, err)
	}
	return endpoints, nil
}

// Close implements upstream.Discovery.
func (d *Discovery) Close() {
	if d.cancel != nil {
		d.cancel()
	}
	d.wait.Wait()
}
