// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"errors"
	"sync"

	"weir.dev/weir/proxy/engine"
)

// A looped is a listener's part on one loop.
type looped interface {
	on() *engine.Loop
	start() error
}

func (w *worker) on() *engine.Loop { return w.loop }

func (w *PacketWorker) on() *engine.Loop { return w.loop }

// startAll starts every worker on its loop.
func startAll[W looped](workers []W) error {
	errs := make(chan error, len(workers))
	for _, w := range workers {
		if !w.on().Post(func() { errs <- w.start() }) {
			errs <- engine.ErrClosed
		}
	}
	var err error
	for range workers {
		err = errors.Join(err, <-errs)
	}
	return err
}

// onEach runs f for every worker on its loop and waits.
func onEach[W looped](workers []W, f func(W)) {
	var wg sync.WaitGroup
	for _, w := range workers {
		wg.Add(1)
		if !w.on().Post(func() { defer wg.Done(); f(w) }) {
			wg.Done()
		}
	}
	wg.Wait()
}
